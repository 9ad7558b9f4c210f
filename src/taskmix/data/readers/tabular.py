"""What the readers of user's own tables share: text and id out of named columns, a file a split."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from taskmix import storage
from taskmix.config.schema import FileDataset
from taskmix.config.wording import did_you_mean, one_of, shown
from taskmix.data.records import BadRow, Record, Records
from taskmix.data.schema import SPLITS, Split
from taskmix.errors import DataError, NotFound

TableRow = tuple[str, Mapping[str, object]] | BadRow
"""Where a row is and its values by column, or what is wrong with it."""
ReadTable = Callable[[Path, str, Split], Iterator[TableRow]]
"""Reads one local file, given its name for errors and its split."""


def read_splits(config: FileDataset, *, read_table: ReadTable) -> Records:
    """Yield the rows of train, dev (where there is such a file) and test.

    Raises:
        DataError: a file lacks a column that the text or the id is made of.
        NotFound: the file of train or test is not there.
    """
    for split in SPLITS:
        uri = split_uri(config, split)
        try:
            with storage.fetch_file(uri) as path:
                name = storage.redact(uri)
                rows = read_table(path, name, split)
                yield from to_records(rows, text=config.text, id_column=config.id, split=split, name=name)
        except NotFound:
            if split != "dev":
                raise


def split_versions(config: FileDataset) -> dict[str, str]:
    """What lies at each split's URI now."""
    versions: dict[str, str] = {}
    for split in SPLITS:
        try:
            versions[split] = storage.source_version(split_uri(config, split))
        except NotFound:
            if split != "dev":
                raise
    return versions


def split_uri(config: FileDataset, split: Split) -> str:
    """The URI of one split's file."""
    return config.uri.replace("{split}", split)


def to_records(
    rows: Iterable[TableRow], *, text: str | tuple[str, ...], id_column: str | None, split: Split, name: str
) -> Records:
    """Yield records of one split's rows.

    Args:
        rows: of one table, in its order.
        text: the text's column, or several, joined by line breaks. A list of words is joined by spaces.
        id_column: the id's; without it the id is split and row number, counted from 1.
        split: which split they are.
        name: what the table is called in errors.

    Raises:
        DataError: no row has one of the columns.
    """
    wanted = (text,) if isinstance(text, str) else text
    seen: set[str] = set()
    for number, row in enumerate(rows, start=1):
        if isinstance(row, BadRow):
            yield row
            continue
        where, values = row
        seen.update(values)
        try:
            row_id = f"{split}/{number}" if id_column is None else _read_id(values.get(id_column), column=id_column)
            yield Record(split, where, row_id, _read_text(values, columns=wanted), values)
        except ValueError as error:
            yield BadRow(split, where, str(error))
    for column in (*wanted, *([id_column] if id_column else [])) if seen else ():
        if column not in seen:
            raise DataError(
                f"{name}: has no column {column!r}{did_you_mean(column, seen)}; it has {one_of(sorted(seen))}; correct "
                "'text' or 'id' of the dataset"
            )


def _read_text(values: Mapping[str, object], *, columns: tuple[str, ...]) -> str:
    parts = []
    for column in columns:
        value = values.get(column)
        match value:
            case None:
                continue
            case str():
                parts.append(value)
            case list() if all(isinstance(word, str) for word in value):
                parts.append(" ".join(value))
            case _:
                raise ValueError(
                    f"column {column!r} is of type {type(value).__name__}; text, or a list of words, is needed"
                )
    if not parts:
        raise ValueError(f"there is no text: {', '.join(columns)} is null or absent; fill it or take the row out")
    whole = "\n".join(parts)
    try:
        whole.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"character {error.start + 1} of the text is half a surrogate pair, which is no Unicode text"
        ) from None
    return whole


def _read_id(value: object, *, column: str) -> str:
    match value:
        case str() if value.strip():
            return value
        case int() if not isinstance(value, bool):
            return str(value)
    raise ValueError(f"the id (column {column!r}) is {shown(value)}; text or a whole number is needed")
