"""From a reader's records to rows: labels read, ids checked, bad rows set aside."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from taskmix.config.plan import DatasetSlice
from taskmix.config.schema import ClassificationTask, TaskConfig
from taskmix.config.wording import did_you_mean, one_of, shown
from taskmix.data.dataset import Label, Row
from taskmix.data.labels import read_class, read_spans
from taskmix.data.progress import show_progress
from taskmix.data.readers import read_records
from taskmix.data.records import BadRow, Record
from taskmix.data.schema import SPLITS, Split
from taskmix.errors import DataError

_FEW = 12
"""Labels that an error names one by one. Arbitrary."""


@dataclass
class Reading:
    """What was read of a source so far.

    Attributes:
        rows: usable rows by split, in the source's order; each has a label of one task at least.
        bad_rows: what goes to quarantine.
        unlabelled: rows by split that were left out since they have no label of any task.
        total: rows met, good and bad.
    """

    rows: dict[Split, list[Row]] = field(default_factory=lambda: {split: [] for split in SPLITS})
    bad_rows: list[BadRow] = field(default_factory=list)
    unlabelled: dict[Split, int] = field(default_factory=lambda: dict.fromkeys(SPLITS, 0))
    total: int = 0


def read_rows(slice: DatasetSlice) -> Reading:
    """Read the whole source.

    Raises:
        DataError: a task's column is not there, or the source as a whole is not what the configuration says.
        StorageError: the source cannot be fetched, or is damaged.
    """
    for task in {"id", "text"} & set(slice.tasks):
        raise DataError(f"tasks.{task}: {task!r} is the name of a column of every dataset; call the task otherwise")
    reading = Reading()
    columns: dict[Split, set[str]] = defaultdict(set)
    ids: dict[str, str] = {}
    for record in _told(read_records(slice.dataset, seed=slice.seed), dataset=slice.name):
        reading.total += 1
        if isinstance(record, BadRow):
            reading.bad_rows.append(record)
            continue
        columns[record.split].update(record.columns)
        if record.id in ids:
            first = ids[record.id]
            why = f"id {shown(record.id)} is that of {first} too; ids are unique over all splits (or leave out 'id')"
            reading.bad_rows.append(BadRow(record.split, record.where, why))
            continue
        ids[record.id] = record.where
        _take(record, tasks=slice.tasks, reading=reading)
    _check_columns(slice, columns=columns)
    return reading


def column_of(spec: TaskConfig) -> str:
    """The source's column that holds a task's labels."""
    return spec.label if isinstance(spec, ClassificationTask) else spec.annotation


def _take(record: Record, *, tasks: Mapping[str, TaskConfig], reading: Reading) -> None:
    labels: dict[str, Label] = {}
    faults = []
    for task, spec in tasks.items():
        try:
            label = _read_label(record, task=task, spec=spec)
        except ValueError as error:
            faults.append(BadRow(record.split, record.where, f"tasks.{task}: {error}", task))
        else:
            if label is not None:
                labels[task] = label
    reading.bad_rows += faults
    if labels:
        reading.rows[record.split].append(Row(record.id, record.text, labels))
    elif not faults:
        reading.unlabelled[record.split] += 1


def _read_label(record: Record, *, task: str, spec: TaskConfig) -> Label | None:
    value = record.columns.get(column_of(spec))
    label: Label | None
    label = read_class(value) if isinstance(spec, ClassificationTask) else read_spans(value, text=record.text)
    if spec.labels is not None and label is not None:
        for name in [label] if isinstance(label, str) else [span.slot for span in label]:
            if name not in spec.labels:
                many = f"the {len(spec.labels)} of tasks.{task}.labels"
                allowed = one_of(spec.labels) if len(spec.labels) <= _FEW else many
                raise ValueError(
                    f"label {shown(name)} is not one of {allowed}{did_you_mean(name, spec.labels)}; correct the row or "
                    f"append the label to tasks.{task}.labels"
                )
    return label


def _check_columns(slice: DatasetSlice, *, columns: Mapping[Split, set[str]]) -> None:
    for task, spec in slice.tasks.items():
        wanted = column_of(spec)
        for split, found in columns.items():
            if wanted not in found:
                raise DataError(
                    f"tasks.{task}: the {split} rows of datasets.{slice.name} have no column {wanted!r}"
                    f"{did_you_mean(wanted, found)}; they have {one_of(sorted(found))}"
                )


def _told(records: Iterable[Record | BadRow], *, dataset: str) -> Iterator[Record | BadRow]:
    return show_progress(records, title=f"reading {dataset}")
