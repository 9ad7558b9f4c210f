"""Ingest: from a source to a published dataset, checked, split, counted and described by a card.

What cannot be right is refused; single bad rows go to `quarantine.jsonl`, up to the configured share; what may stand
is counted on the card. The same source, slice and code give the same folder, byte for byte.
"""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from taskmix.config.plan import DatasetSlice
from taskmix.data.card import make_card
from taskmix.data.dataset import CARD, Row, write_table
from taskmix.data.readers import identify_source
from taskmix.data.records import BadRow
from taskmix.data.rows import Reading, read_rows
from taskmix.data.schema import SPLITS, Split
from taskmix.data.spaces import make_label_spaces
from taskmix.data.splits import cut_dev, draw_sample
from taskmix.errors import DataError
from taskmix.storage import fingerprint, is_complete, join, publish

QUARANTINE = "quarantine.jsonl"
_SHOWN = 5
"""Bad rows that an error names. Arbitrary."""

log = logging.getLogger(__name__)


def source_version(slice: DatasetSlice) -> str:
    """16 hex digits that stand for all that decides the dataset: what lies at the source now, the slice, this code.

    Raises:
        StorageError: the source is not there or cannot be reached.
    """
    return fingerprint(
        {
            "source": dict(identify_source(slice.dataset)),
            "slice": slice.model_dump(mode="json"),
            "code": _code_version(),
        }
    )


def ingest(slice: DatasetSlice, *, storage: str, version: str) -> str:
    """Publish the dataset and return its URI, `<storage>/datasets/<name>/<version>`; one that is complete is reused.

    Args:
        slice: the dataset and its tasks.
        storage: the configuration's `storage`.
        version: as `source_version` gives it.

    Raises:
        DataError: the data cannot be what the configuration says.
        StorageError: the source or storage cannot be reached, or the source is damaged.
    """
    uri = join(storage, "datasets", slice.name, version)
    if is_complete(uri):
        log.info("reused dataset=%s uri=%s", slice.name, uri)
        return uri
    with tempfile.TemporaryDirectory(prefix="taskmix-ingest-") as folder:
        build_dataset(slice, folder=Path(folder), version=version)
        publish(Path(folder), uri, about={"kind": "dataset", "name": slice.name, "version": version})
    return uri


def build_dataset(slice: DatasetSlice, *, folder: Path, version: str) -> None:
    """Write the dataset's files into a local folder; `ingest` publishes it.

    Raises:
        DataError: the data cannot be what the configuration says.
    """
    reading = read_rows(slice)
    _refuse_bad_rows(slice, reading=reading)
    splits, decisions = _make_splits(slice, reading=reading)
    spaces = make_label_spaces(splits, tasks=slice.tasks, dataset=slice.name)
    kinds = {task: spec.type for task, spec in slice.tasks.items()}
    for split in SPLITS:
        write_table(splits[split], folder / f"{split}.parquet", tasks=kinds)
    _write_quarantine(reading.bad_rows, folder=folder)
    card = make_card(
        slice, splits=splits, spaces=spaces, reading=reading, decisions=decisions, folder=folder, version=version
    )
    (folder / CARD).write_text(json.dumps(card, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    counts = {split: len(splits[split]) for split in SPLITS}
    log.info(
        "ingested dataset=%s version=%s rows=%s quarantined=%d", slice.name, version, counts, len(reading.bad_rows)
    )


def _refuse_bad_rows(slice: DatasetSlice, *, reading: Reading) -> None:
    allowed = slice.dataset.max_bad_rows
    bad = len({entry.where for entry in reading.bad_rows})
    if bad <= allowed * reading.total:
        return
    lines = [f"\n  - {entry.where}: {entry.why}" for entry in reading.bad_rows[:_SHOWN]]
    if len(reading.bad_rows) > _SHOWN:
        lines.append(f"\n  - and {len(reading.bad_rows) - _SHOWN} more")
    raise DataError(
        f"datasets.{slice.name}: {bad} of {reading.total} rows are bad, more than max_bad_rows = {allowed:g} allows:"
        + "".join(lines)
        + f"\nCorrect the rows, or raise datasets.{slice.name}.max_bad_rows to send them to {QUARANTINE}"
    )


def _make_splits(slice: DatasetSlice, *, reading: Reading) -> tuple[dict[Split, list[Row]], list[str]]:
    splits, decisions = dict(reading.rows), []
    for split in SPLITS:
        if (split != "dev" or splits["dev"]) and not any(row.text.strip() for row in splits[split]):
            found = "only rows without text" if splits[split] else "no usable rows"
            raise DataError(
                f"datasets.{slice.name}: {split} has {found}; each dataset needs train and test; give more rows, or "
                "correct the columns of text and labels"
            )
    if not splits["dev"]:
        decisions.append(_cut_dev(slice, splits=splits))
    for split in SPLITS:
        size = getattr(slice.dataset.limit, split)
        if size is not None and len(splits[split]) > size:
            decisions.append(f"limit: {size} of {len(splits[split])} {split} rows were drawn with seed {slice.seed}")
            splits[split] = draw_sample(splits[split], size=size, seed=slice.seed)
    return splits, decisions


def _cut_dev(slice: DatasetSlice, *, splits: dict[Split, list[Row]]) -> str:
    """Move part of train to dev, in place; return the sentence for the card."""
    if len(splits["train"]) < 2:
        raise DataError(
            f"datasets.{slice.name}: one train row cannot be parted into train and dev; give more rows, or dev"
        )
    by = next((task for task, spec in slice.tasks.items() if spec.type == "classification"), None)
    fraction = slice.dataset.dev_fraction
    splits["train"], splits["dev"] = cut_dev(splits["train"], fraction=fraction, stratify_by=by, seed=slice.seed)
    how = f"stratified by task {by}" if by else "at random"
    return f"the source has no dev split: {len(splits['dev'])} rows were cut off train, {how}, with seed {slice.seed}"


def _write_quarantine(bad_rows: list[BadRow], *, folder: Path) -> None:
    if bad_rows:
        lines = (json.dumps(entry._asdict(), ensure_ascii=False) + "\n" for entry in bad_rows)
        (folder / QUARANTINE).write_text("".join(lines), encoding="utf-8")


@cache
def _code_version() -> str:
    """Hash of the sources that make a dataset, so that a mended reader is not mistaken for a dataset already there."""
    package = Path(__file__).parent
    return fingerprint(
        {str(path.relative_to(package)): hashlib.sha256(path.read_bytes()).hexdigest() for path in _sources(package)}
    )


def _sources(package: Path) -> Iterator[Path]:
    for path in sorted([*package.rglob("*.py"), *package.rglob("*.yaml")]):
        if path.name != "mixture.py":  # training's own, and no part of a dataset
            yield path
