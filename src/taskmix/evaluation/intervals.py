"""Bootstrap intervals: how far a score could have come out otherwise, had the test set been another draw of texts.

The unit that is drawn is a row of the dataset's test split, with all its tasks: scores of one dataset move together.
The same seed and dataset give the same draws, whatever the system, task or score, so two systems' resampled scores can
be subtracted one by one (the paired bootstrap). Percentile intervals; better ones (BCa) and tests belong beside this.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from taskmix.config.schema import Section
from taskmix.evaluation.metrics import Array, Measure

Key = TypeVar("Key")
CELLS_AT_ONCE = 4_000_000
"""Weights held at a time (32 MB as float64): bounds memory, decides no result."""
DEFINED_SHARE = 0.95
"""Least share of resamples in which a score must be defined; below it no interval is given. Arbitrary."""


class Interval(Section):
    """Where a score lies with the stated confidence."""

    low: float
    high: float
    confidence: float
    method: str = "percentile bootstrap"
    resamples: int


def draws(rows: int, *, resamples: int, seed: int, dataset: str) -> Iterator[NDArray[np.float64]]:
    """Resamples of the rows of a test split, with replacement, as weights.

    Yields:
        (some, rows) float64: how often each row was drawn; each line sums to `rows`. Together `resamples` lines.
    """
    generator = np.random.default_rng([seed, zlib.crc32(dataset.encode())])
    at_once = max(1, CELLS_AT_ONCE // max(rows, 1))
    for start in range(0, resamples, at_once):
        lines = min(at_once, resamples - start)
        drawn = generator.integers(0, rows, size=(lines, rows))
        drawn += np.arange(lines)[:, None] * rows
        yield np.bincount(drawn.ravel(), minlength=lines * rows).reshape(lines, rows).astype(np.float64)


def resample(
    measures: Mapping[Key, Measure], *, rows: int, resamples: int, seed: int, dataset: str
) -> dict[Key, Array]:
    """Every measure's score on the same resamples of one dataset's test split.

    Returns:
        For each key (resamples,) scores, NaN where undefined; position r is the same resample for all keys.
    """
    if not measures or rows < 1:
        return {}
    parts: dict[Key, list[Array]] = {key: [] for key in measures}
    for weights_RN in draws(rows, resamples=resamples, seed=seed, dataset=dataset):
        for key, measure in measures.items():
            parts[key].append(measure.resampled(weights_RN))
    return {key: np.concatenate(values) for key, values in parts.items()}


def interval(samples: Array, *, confidence: float) -> Interval | None:
    """The central interval of resampled scores.

    None where the score is undefined in too many resamples, or the same in all (every answer right, or too few
    examples): an interval of no width would claim a certainty that is not there.
    """
    defined = samples[~np.isnan(samples)]
    if not samples.size or defined.size < DEFINED_SHARE * samples.size:
        return None
    tail = (1 - confidence) / 2
    low, high = np.quantile(defined, [tail, 1 - tail])
    if low == high:
        return None
    return Interval(low=float(low), high=float(high), confidence=confidence, resamples=int(samples.size))
