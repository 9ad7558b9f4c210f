"""JSON lines: one object a line, UTF-8."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from taskmix.config.schema import FileDataset
from taskmix.data.readers.lines import read_lines
from taskmix.data.readers.tabular import TableRow, read_splits
from taskmix.data.records import Records
from taskmix.data.schema import Split


def read_jsonl(config: FileDataset) -> Records:
    """Yield the rows of the splits' files; a field that is null or absent has no label.

    Raises:
        DataError: a column is in no row of a file.
        NotFound: the file of train or test is not there.
    """
    return read_splits(config, read_table=_read_table)


def _read_table(path: Path, name: str, split: Split) -> Iterator[TableRow]:
    with path.open("rb") as lines:
        yield from read_lines(lines, name=name, split=split)
