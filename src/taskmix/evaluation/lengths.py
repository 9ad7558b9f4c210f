"""How a task's score depends on how long the texts are: short texts say little, long ones may have been cut."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from taskmix.data.schema import split_words
from taskmix.evaluation.metrics import Measure
from taskmix.evaluation.predictions import Predictions

QUANTILES = (0.25, 0.5, 0.75, 0.95)
"""Where the groups end: quarters of the test texts, and the longest twentieth by itself, since that is what is cut."""
Lengths = tuple[int, int, int]
"""Least and most words of a group's texts, and how many texts there are."""


def by_length(predictions: Predictions, measure: Measure) -> dict[Lengths, Measure]:
    """The score `measure` on groups of texts of like length, shortest first.

    Args:
        predictions: of the task.
        measure: a score of the same predictions.
    """
    words = np.array([len(split_words(text)) for text in predictions.examples.texts], dtype=np.int64)
    ends = sorted({int(end) for end in np.quantile(words, [*QUANTILES, 1.0], method="lower")})
    starts = [int(words.min()), *(end + 1 for end in ends[:-1])]
    groups: dict[Lengths, Measure] = {}
    for low, high in zip(starts, ends, strict=True):
        inside = (words >= low) & (words <= high)
        kept = np.zeros(measure.statistics.shape[0])
        kept[predictions.examples.rows[inside]] = 1.0
        statistics = sparse.csr_array(sparse.diags_array(kept) @ measure.statistics)
        groups[low, high, int(inside.sum())] = Measure(measure.name, statistics, measure.fraction)
    return groups
