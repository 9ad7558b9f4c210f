"""What is counted in a dataset that may stand: duplicates, shared texts, conflicts, skew.

Nothing here refuses or changes a row; the counts go to the data card.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from taskmix.data.dataset import Label, Row
from taskmix.data.schema import SPLITS, LabelSpace, Split

PERCENTILES = (0, 25, 50, 75, 90, 95, 99, 100)

Rows = Mapping[Split, Sequence[Row]]


def count_labels(rows: Sequence[Row], *, task: str) -> dict[str, int]:
    """How often each label, or each slot, occurs; the most frequent first, then by name."""
    counts: Counter[str] = Counter()
    for row in rows:
        label = row.labels.get(task)
        if isinstance(label, str):
            counts[label] += 1
        elif label is not None:
            counts.update(span.slot for span in label)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def check_texts(splits: Rows) -> dict[str, Any]:
    """Counts that concern texts alone.

    Returns:
        `empty_texts` by split; `duplicate_texts` by split: rows whose text came before in the same split;
        `shared_texts` by pair, e.g. `train/test`: rows of the second whose text is in the first. Empty texts are no
        duplicates and not shared, and white space around a text makes no difference.
    """
    texts = {split: [text for row in splits[split] if (text := row.text.strip())] for split in SPLITS}
    distinct = {split: set(texts[split]) for split in SPLITS}
    return {
        "empty_texts": {split: len(splits[split]) - len(texts[split]) for split in SPLITS},
        "duplicate_texts": {split: len(texts[split]) - len(distinct[split]) for split in SPLITS},
        "shared_texts": {
            f"{first}/{second}": sum(text in distinct[first] for text in texts[second])
            for first, second in combinations(SPLITS, 2)
        },
    }


def check_task(splits: Rows, *, task: str, labels: LabelSpace) -> dict[str, Any]:
    """Counts that concern one task's labels.

    Returns:
        `unlabelled` rows by split; `conflicting_texts`: texts of train with more than one label; `shared_conflicts` by
        split: rows whose text is in train, but never with their label; `labels_without_rows` by split;
        `unknown_labels` by split: labels outside the label space, which no model can answer, with their rows; and for
        skew `majority_share` by split and `label_shift`: the total variation distance between train and
        test, in [0, 1].
    """
    counts = {split: count_labels(splits[split], task=task) for split in SPLITS}
    seen: dict[str, set[Label]] = defaultdict(set)
    for row in splits["train"]:
        if task in row.labels and row.text.strip():
            seen[row.text.strip()].add(row.labels[task])
    return {
        "unlabelled": {split: sum(task not in row.labels for row in splits[split]) for split in SPLITS},
        "conflicting_texts": sum(len(found) > 1 for found in seen.values()),
        "shared_conflicts": {
            split: sum(
                row.text in seen and task in row.labels and row.labels[task] not in seen[row.text]
                for row in splits[split]
            )
            for split in SPLITS[1:]
        },
        "labels_without_rows": {
            split: [name for name in labels.labels if name not in counts[split]] for split in SPLITS
        },
        "unknown_labels": {
            split: {name: count for name, count in counts[split].items() if name not in labels} for split in SPLITS
        },
        "majority_share": {
            split: _round(max(found.values(), default=0), sum(found.values())) for split, found in counts.items()
        },
        "label_shift": _label_shift(counts["train"], counts["test"]),
    }


def measure_texts(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """Percentiles of the texts' lengths, in words and in characters: `{"words": {"p50": 6.0, ...}, ...}`."""
    lengths = {"words": [len(row.text.split()) for row in rows], "characters": [len(row.text) for row in rows]}
    return {
        unit: {
            f"p{mark}": float(value) for mark, value in zip(PERCENTILES, np.percentile(found, PERCENTILES), strict=True)
        }
        for unit, found in lengths.items()
    }


def _label_shift(first: Mapping[str, int], second: Mapping[str, int]) -> float:
    one, two = sum(first.values()), sum(second.values())
    names = {*first, *second}
    return round(sum(abs(first.get(name, 0) / one - second.get(name, 0) / two) for name in names) / 2, 6)


def _round(part: int, whole: int) -> float:
    return round(part / whole, 6) if whole else 0.0
