"""Bootstrap intervals: how far a score could have come out otherwise, had the test set been another draw of texts.

The unit that is drawn is a row of the dataset's test split, with all its tasks: scores of one dataset move together.
The same seed and dataset give the same draws, whatever the system, task or score, so two systems' resampled scores can
be subtracted one by one (the paired bootstrap). Intervals are bias-corrected and accelerated (BCa, Efron 1987) where
that is defined, else percentile intervals, and each tells which it is. The tests made of these stand in `paired`.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from taskmix.config.schema import Section
from taskmix.evaluation.metrics import Array, Measure

Key = TypeVar("Key")
CELLS_AT_ONCE = 4_000_000
"""Weights held at a time (32 MB as float64): bounds memory, decides no result."""
DEFINED_SHARE = 0.95
"""Least share of resamples in which a score must be defined; below it no interval is given. Arbitrary."""
TIE = 1e-12
"""Resamples closer than this to the value equal it: they come of sums of floats."""
BCA, PERCENTILE, TANGO = "BCa bootstrap", "percentile bootstrap", "Tango's score"
TWO_LEVEL = "two-level bootstrap"


class Interval(Section):
    """Where a score lies with the stated confidence."""

    low: float
    high: float
    confidence: float
    method: str = PERCENTILE
    """`BCa bootstrap`; `percentile bootstrap` where BCa is undefined (all resamples on one side, no acceleration);
    `Tango's score` for the difference of two accuracies; `two-level bootstrap` over texts and seeds, see `seeds`."""
    resamples: int | None = None
    """Null where the method needs none."""


@dataclass(frozen=True)
class Resampled:
    """A score, its resamples, and how it moves when one row is left out: all that an interval is made of.

    Attributes:
        value: of the whole test set; null where undefined.
        samples: (resamples,) NaN where undefined.
        deviations: dataset to (rows,), the mean of the scores with one row left out minus each of these; empty where
            leaving out some row makes the score undefined, and over several seeds.
        seeds: how many training seeds the score is a mean over; of a difference, of the side that has more.
    """

    value: float | None
    samples: Array
    deviations: Mapping[str, Array]
    seeds: int = 1

    def minus(self, other: Resampled) -> Resampled:
        """The difference to another score on the same resamples of the same rows."""
        value = None if self.value is None or other.value is None else self.value - other.value
        shared = self.deviations.keys() & other.deviations.keys()
        complete = shared == self.deviations.keys() == other.deviations.keys()
        apart = {name: self.deviations[name] - other.deviations[name] for name in sorted(shared)} if complete else {}
        return Resampled(value, self.samples - other.samples, apart, max(self.seeds, other.seeds))

    def negated(self) -> Resampled:
        """The same with its sign turned: what is below becomes above."""
        value = None if self.value is None else -self.value
        turned = {name: -found for name, found in self.deviations.items()}
        return Resampled(value, -self.samples, turned, self.seeds)

    def bca(self) -> tuple[float, float] | None:
        """Bias correction z0 and acceleration (Efron 1987); null where one is undefined.

        Of several independent samples the leave-one-out moves of all count (Davison and Hinkley 1997, section 5.4).
        """
        defined = self.samples[~np.isnan(self.samples)]
        if self.value is None or not defined.size or not self.deviations:
            return None
        below = np.count_nonzero(defined < self.value - TIE) + np.count_nonzero(abs(defined - self.value) <= TIE) / 2
        moves = np.concatenate(list(self.deviations.values()))
        spread = float((moves**2).sum())
        if not 0 < below < defined.size or not np.isfinite(spread) or spread <= 0:
            return None
        return float(ndtri(below / defined.size)), float((moves**3).sum() / (6 * spread**1.5))


def mean_of(scores: Sequence[Resampled]) -> Resampled:
    """The mean of scores, tasks of one dataset moving together and datasets independently."""
    values = [score.value for score in scores]
    defined = [value for value in values if value is not None]
    value = sum(defined) / len(values) if len(defined) == len(values) else None
    deviations: dict[str, Array] = {}
    if all(score.deviations for score in scores):
        for score in scores:
            for name, found in score.deviations.items():
                deviations[name] = deviations.get(name, np.zeros_like(found)) + found / len(scores)
    return Resampled(value, np.mean([score.samples for score in scores], axis=0), deviations)


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
) -> dict[Key, Resampled]:
    """Every measure's score on the same resamples of one dataset's test split.

    Returns:
        For each key its resampled score; position r of `samples` is the same resample for all keys.
    """
    if not measures or rows < 1:
        return {}
    parts: dict[Key, list[Array]] = {key: [] for key in measures}
    for weights_RN in draws(rows, resamples=resamples, seed=seed, dataset=dataset):
        for key, measure in measures.items():
            parts[key].append(measure.resampled(weights_RN))
    return {
        key: Resampled(_value(measure), np.concatenate(parts[key]), _deviations(measure, dataset=dataset))
        for key, measure in measures.items()
    }


def interval(resampled: Resampled, *, confidence: float) -> Interval | None:
    """The interval of a resampled score: BCa where it is defined, else percentile.

    None where the score is undefined in too many resamples, or the same in all (every answer right, or too few
    examples): an interval of no width would claim a certainty that is not there.
    """
    samples = resampled.samples
    defined = samples[~np.isnan(samples)]
    if not samples.size or defined.size < DEFINED_SHARE * samples.size:
        return None
    tails = np.array([(1 - confidence) / 2, (1 + confidence) / 2])
    corrected = _corrected(tails, resampled.bca())
    low, high = np.quantile(defined, tails if corrected is None else corrected)
    if low == high:
        return None
    return Interval(
        low=float(low),
        high=float(high),
        confidence=confidence,
        method=TWO_LEVEL if resampled.seeds > 1 else PERCENTILE if corrected is None else BCA,
        resamples=int(samples.size),
    )


def _corrected(tails: Array, factors: tuple[float, float] | None) -> Array | None:
    """The quantiles of the resamples that the BCa interval ends at (Efron 1987, equation 2.3)."""
    if factors is None:
        return None
    bias, acceleration = factors
    moved = bias + ndtri(tails)
    stretch = 1 - acceleration * moved
    return None if (stretch <= 0).any() else np.asarray(ndtr(bias + moved / stretch), dtype=np.float64)


def _value(measure: Measure) -> float | None:
    numerator, denominator = measure.score()
    return numerator / denominator if denominator > 0 else None


def _deviations(measure: Measure, *, dataset: str) -> dict[str, Array]:
    without = measure.leave_one_out()
    return {} if np.isnan(without).any() else {dataset: without.mean() - without}
