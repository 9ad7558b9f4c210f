"""CSV: comma separated, quoted with `"`, UTF-8, the first line names the columns."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from taskmix.config.schema import FileDataset
from taskmix.data.readers.tabular import TableRow, read_splits
from taskmix.data.records import BadRow, Records
from taskmix.data.schema import Split
from taskmix.errors import DataError

_MAX_FIELD = 16 << 20
"""Characters of one field; Python's own limit of 131,072 is less than some documents have. Arbitrary."""


def read_csv(config: FileDataset) -> Records:
    """Yield the rows of the splits' files; an empty cell has no label.

    Raises:
        DataError: a header is absent or ambiguous, a quote never closes, or a column is not there.
        NotFound: the file of train or test is not there.
    """
    return read_splits(config, read_table=_read_table)


def _read_table(path: Path, name: str, split: Split) -> Iterator[TableRow]:
    csv.field_size_limit(_MAX_FIELD)
    # Undecodable bytes become lone surrogates, so that the line they are on can be told and the others be read.
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        reader = csv.reader(file, strict=True)
        header = _read_header(reader, name=name)
        while True:
            where = f"{name} line {reader.line_num + 1}"
            try:
                fields = next(reader, None)
            except csv.Error as error:
                if "unexpected end of data" in str(error):
                    raise DataError(
                        f'{where}: a quote opens that never closes; close it, or double it ("") within a field'
                    ) from None
                yield BadRow(split, where, f"is no CSV ({error})")
                continue
            if fields is None:
                return
            if fields:
                yield _to_row(fields, header=header, where=where, split=split)


def _read_header(reader: Iterator[list[str]], *, name: str) -> list[str]:
    try:
        header = next(reader, [])
    except csv.Error as error:
        raise DataError(f"{name} line 1: is no CSV ({error})") from None
    if not header:
        raise DataError(f"{name}: is empty; the first line names the columns")
    if not _is_text(header):
        raise DataError(f"{name} line 1: is not UTF-8; save the file as UTF-8")
    twice = [column for column, count in Counter(header).items() if count > 1]
    if twice:
        raise DataError(
            f"{name} line 1: names the column {twice[0]!r} more than once; give each column a name of its own"
        )
    other = next((mark for mark in (";", "\t", "|") if len(header) == 1 and mark in header[0]), None)
    if other:
        raise DataError(f"{name} line 1: seems to be separated by {other!r}; separate the columns by commas")
    return header


def _to_row(fields: list[str], *, header: list[str], where: str, split: Split) -> TableRow:
    if not _is_text(fields):
        return BadRow(split, where, "is not UTF-8; save the file as UTF-8")
    if len(fields) != len(header):
        return BadRow(
            split, where, f"has {len(fields)} fields, the header {len(header)}; quote fields that hold commas"
        )
    return where, dict(zip(header, fields, strict=True))


def _is_text(fields: list[str]) -> bool:
    try:
        "".join(fields).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
