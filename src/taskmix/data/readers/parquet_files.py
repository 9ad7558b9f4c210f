"""Parquet, read batch by batch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from taskmix.config.schema import FileDataset
from taskmix.data.readers.tabular import TableRow, read_splits
from taskmix.data.records import BadRow, Records
from taskmix.data.schema import Split
from taskmix.errors import Corrupt


def read_parquet(config: FileDataset) -> Records:
    """Yield the rows of the splits' files; null has no label.

    Raises:
        Corrupt: a file is damaged or no Parquet.
        DataError: a file lacks a column.
        NotFound: the file of train or test is not there.
    """
    return read_splits(config, read_table=_read_table)


def _read_table(path: Path, name: str, split: Split) -> Iterator[TableRow]:
    number = 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches():
                for index in range(batch.num_rows):
                    number += 1
                    yield _to_row(batch, index, where=f"{name} row {number}", split=split)
    except (pa.ArrowInvalid, OSError) as error:
        raise Corrupt(f"{name}: is damaged or no Parquet file ({error}); write it again") from error


def _to_row(batch: pa.RecordBatch, index: int, *, where: str, split: Split) -> TableRow:
    try:
        return where, {column: batch[column][index].as_py() for column in batch.schema.names}
    except UnicodeDecodeError:
        return BadRow(split, where, "is not UTF-8; Parquet's strings must be")
