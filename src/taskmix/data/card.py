"""The data card: what a dataset holds and how it was made, as JSON. The report shows it; `load_dataset` needs it.

No date and no path of this machine is on it, so that the same data gives the same card.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from taskmix.config.plan import DatasetSlice
from taskmix.data.checks import check_task, check_texts, count_labels, measure_texts
from taskmix.data.dataset import Row, task_hash
from taskmix.data.readers import describe_source
from taskmix.data.rows import Reading, column_of
from taskmix.data.schema import SPLITS, LabelSpace, Split


def make_card(
    slice: DatasetSlice,
    *,
    splits: Mapping[Split, Sequence[Row]],
    spaces: Mapping[str, LabelSpace],
    reading: Reading,
    decisions: Sequence[str],
    folder: Path,
    version: str,
) -> dict[str, Any]:
    """The card of a dataset whose tables lie in `folder`.

    Returns:
        `name`, `version`, `seed`, `source` (uri, licence, citation), `config` (the dataset's section otherwise);
        `splits`: rows, sha256 and text lengths of each; `tasks`: type, column, labels, hash, counts by split and the
        counts of `check_task`; `checks`: the counts of `check_texts`, and of what was set aside; `decisions`: sentences
        on what ingest decided.
    """
    tasks = {
        task: {
            "type": spec.type,
            "column": column_of(spec),
            "labels": list(spaces[task].labels),
            "hash": task_hash(splits, task=task, labels=spaces[task]),
            "counts": {split: count_labels(splits[split], task=task) for split in SPLITS},
            **check_task(splits, task=task, labels=spaces[task]),
        }
        for task, spec in slice.tasks.items()
    }
    return {
        "format": 1,
        "name": slice.name,
        "version": version,
        "seed": slice.seed,
        "source": describe_source(slice.dataset),
        "config": slice.dataset.model_dump(mode="json", exclude={"uri", "path"}),
        "splits": {split: _describe_split(splits[split], path=folder / f"{split}.parquet") for split in SPLITS},
        "tasks": tasks,
        "checks": {
            "rows_read": reading.total,
            "quarantined_rows": len({entry.where for entry in reading.bad_rows}),
            "quarantined_labels": dict(Counter(entry.task for entry in reading.bad_rows if entry.task)),
            "unlabelled_rows": dict(reading.unlabelled),
            **check_texts(splits),
        },
        "decisions": [*decisions, *_unknown_labels(tasks)],
    }


def _describe_split(rows: Sequence[Row], *, path: Path) -> dict[str, Any]:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return {"rows": len(rows), "sha256": digest, "lengths": measure_texts(rows)}


def _unknown_labels(tasks: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return [
        f"task {task}: {sum(found.values())} {split} labels ({', '.join(sorted(found))}) are not in the label "
        "space, so no model can answer them; their rows stay and count as errors"
        for task, facts in tasks.items()
        for split, found in facts["unknown_labels"].items()
        if found
    ]
