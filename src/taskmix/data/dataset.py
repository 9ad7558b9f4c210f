"""A dataset as everything after ingest sees it: three Parquet tables and a card, in a folder.

`write_table` is how ingest makes the tables, `load_dataset` how all others read them. Nothing is checked here but that
the parts are there; ingest has checked the rest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from taskmix.data.schema import SPLITS, LabelSpace, Span, Split
from taskmix.errors import DataError

CARD = "card.json"
SPANS_TYPE = pa.list_(pa.struct([("start", pa.int32()), ("end", pa.int32()), ("slot", pa.string())]))
"""Spans in words, end exclusive, as `Span`."""

Label = str | tuple[Span, ...]
"""What one row answers to one task: a label, or spans (none is an answer too)."""


@dataclass(frozen=True, slots=True)
class Row:
    """One text and what is known of it.

    Attributes:
        id: unique in the dataset.
        text: may be empty.
        labels: task to label; a task that the row has no label for is absent.
    """

    id: str
    text: str
    labels: dict[str, Label]


@dataclass(frozen=True)
class Dataset:
    """A published dataset, read from a local folder.

    Attributes:
        folder: where it lies.
        card: its data card, as `taskmix.data.card` makes it.
    """

    folder: Path
    card: dict[str, Any]

    @property
    def name(self) -> str:
        """The dataset's name in the configuration."""
        return str(self.card["name"])

    @property
    def label_spaces(self) -> dict[str, LabelSpace]:
        """Task to the labels that it can answer."""
        return {task: LabelSpace(tuple(facts["labels"])) for task, facts in self.card["tasks"].items()}

    @property
    def task_hashes(self) -> dict[str, str]:
        """Task to the hash of its content: the ids, texts and labels of all splits, and the label space.

        Another task on the same dataset leaves it as it is.
        """
        return {task: str(facts["hash"]) for task, facts in self.card["tasks"].items()}

    def table(self, split: Split) -> pa.Table:
        """One split as a table: `id`, `text`, and a column for each task (null: no label)."""
        return pq.read_table(self.folder / f"{split}.parquet")

    def rows(self, split: Split) -> list[Row]:
        """One split, in its order."""
        table = self.table(split)
        tasks = [name for name in table.column_names if name not in ("id", "text")]
        columns = {task: [_as_label(value) for value in table[task].to_pylist()] for task in tasks}
        ids, texts = table["id"].to_pylist(), table["text"].to_pylist()
        return [
            Row(row_id, text, {task: label for task in tasks if (label := columns[task][index]) is not None})
            for index, (row_id, text) in enumerate(zip(ids, texts, strict=True))
        ]


def load_dataset(folder: Path) -> Dataset:
    """The dataset in a local folder (of a folder on storage, take `storage.local_copy` first).

    Raises:
        DataError: the folder lacks the card or a split, or the card is of another format.
    """
    absent = [name for name in (CARD, *(f"{split}.parquet" for split in SPLITS)) if not (folder / name).is_file()]
    if absent:
        raise DataError(f"{folder}: is no dataset, since {', '.join(absent)} is not there; ingest it again")
    card = json.loads((folder / CARD).read_text(encoding="utf-8"))
    if card.get("format") != 1:
        raise DataError(f"{folder}/{CARD}: format {card.get('format')!r} is not 1; ingest it again with this version")
    return Dataset(folder, card)


def write_table(rows: Sequence[Row], path: Path, *, tasks: Mapping[str, str]) -> None:
    """Write rows as Parquet.

    Args:
        rows: in the order to keep.
        path: of the file.
        tasks: task to its type, `classification` or `slot_filling`; each becomes a column.
    """
    fields = [pa.field("id", pa.string(), nullable=False), pa.field("text", pa.string(), nullable=False)]
    columns: list[list[Any]] = [[row.id for row in rows], [row.text for row in rows]]
    for task, kind in tasks.items():
        fields.append(pa.field(task, SPANS_TYPE if kind == "slot_filling" else pa.string()))
        columns.append([_as_value(row.labels.get(task)) for row in rows])
    schema = pa.schema(fields)
    arrays = [pa.array(column, type=field.type) for column, field in zip(columns, schema, strict=True)]
    pq.write_table(pa.Table.from_arrays(arrays, schema=schema), path, compression="zstd")


def task_hash(splits: Mapping[Split, Iterable[Row]], *, task: str, labels: LabelSpace) -> str:
    """sha256 of all that a job can learn of one task: its rows' ids, texts and labels by split, and its label space."""
    digest = hashlib.sha256(json.dumps(labels.labels).encode())
    for split in SPLITS:
        digest.update(f"\n{split}\n".encode())
        for row in splits[split]:
            if task in row.labels:
                digest.update(json.dumps([row.id, row.text, row.labels[task]]).encode())
    return digest.hexdigest()


def _as_value(label: Label | None) -> str | list[dict[str, object]] | None:
    return [span._asdict() for span in label] if isinstance(label, tuple) else label


def _as_label(value: Any) -> Label | None:
    return tuple(Span(**span) for span in value) if isinstance(value, list) else value
