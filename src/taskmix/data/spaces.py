"""Label spaces: which labels a task can answer, and in which order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from taskmix.config.schema import TaskConfig
from taskmix.data.checks import count_labels
from taskmix.data.dataset import Row
from taskmix.data.schema import SPLITS, LabelSpace, Split
from taskmix.errors import DataError


def make_label_spaces(
    splits: Mapping[Split, Sequence[Row]], *, tasks: Mapping[str, TaskConfig], dataset: str
) -> dict[str, LabelSpace]:
    """The tasks' label spaces: `labels:` of the configuration as they stand, else the labels of train, sorted.

    A label that only dev or test has is in no label space: no model could learn it. Its rows stay (they are part of
    the benchmark, and every model gets them wrong), and the data card counts them.

    Raises:
        DataError: a task has no labels at all in a split, or too few in train to learn from.
    """
    return {task: _label_space(splits, task=task, spec=spec, dataset=dataset) for task, spec in tasks.items()}


def _label_space(splits: Mapping[Split, Sequence[Row]], *, task: str, spec: TaskConfig, dataset: str) -> LabelSpace:
    for split in SPLITS:
        if not any(task in row.labels for row in splits[split]):
            raise DataError(
                f"tasks.{task}: no {split} row of datasets.{dataset} has a label of it; label some rows, or correct "
                "its column"
            )
    in_train = sorted(count_labels(splits["train"], task=task))
    least, what = (2, "labels") if spec.type == "classification" else (1, "slots")
    if len(in_train) < least:
        raise DataError(
            f"tasks.{task}: the train rows of datasets.{dataset} have {len(in_train)} {what} "
            f"({', '.join(in_train) or 'none'}), and {least} is the least that can be learnt; label "
            "more rows, raise limit.train, or correct the column"
        )
    return LabelSpace(tuple(in_train) if spec.labels is None else spec.labels)
