"""What readers give to ingest: rows as their source has them, and rows that cannot be read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from taskmix.data.schema import Split


class Record(NamedTuple):
    """One row of a source, its labels not yet looked at."""

    split: Split
    where: str
    """For people: file and line, or what the source has instead."""
    id: str
    text: str
    columns: Mapping[str, object]
    """All columns that the source has for this row, by name."""


class BadRow(NamedTuple):
    """A row, or one task's label of a row, that cannot be what the configuration says; goes to quarantine."""

    split: Split | None
    where: str
    why: str
    """What was found and what is allowed; never the text itself."""
    task: str | None = None
    """Set when only this task's label is bad, and the row stands without it."""


Records = Iterator[Record | BadRow]
