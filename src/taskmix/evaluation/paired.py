"""Tests on two systems' answers to the same texts: is there a difference, is it small enough, could we have seen it?

Pure numbers in, p-values and intervals out; which systems are compared, on what and why is said in `comparisons`. All
tests are paired. Where the score is a share of right answers only the texts count that one system answers rightly and
the other does not (the discordant ones); where it is an F1 the resampled differences of `intervals` are used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri
from scipy.stats import binomtest

Array = NDArray[np.float64]

POWER = 0.8
"""Of the detectable margin: the chance to see what is there. Cohen's convention; arbitrary like every such number."""
CELLS_AT_ONCE = 4_000_000
"""Signs held at a time (32 MB as float64): bounds memory, decides no result."""
EDGE = 1e-9
"""How close to -1 and 1 a difference of shares is searched."""


@dataclass(frozen=True)
class Discordance:
    """How two systems' right answers fall together on the same texts.

    Attributes:
        texts: all that both answered.
        gained: our system is right and the other wrong.
        lost: the other is right and ours wrong.
    """

    texts: int
    gained: int
    lost: int

    @property
    def difference(self) -> float:
        """Our accuracy minus the other's."""
        return (self.gained - self.lost) / self.texts


def discordance(ours: NDArray[np.bool_], theirs: NDArray[np.bool_]) -> Discordance:
    """Count the discordant texts of two (texts,) arrays that tell where each system is right."""
    return Discordance(len(ours), int((ours & ~theirs).sum()), int((theirs & ~ours).sum()))


def mcnemar_exact(counts: Discordance) -> float:
    """Two-sided p of 'both systems are equally often right': a sign test on the discordant texts (McNemar 1947)."""
    discordant = counts.gained + counts.lost
    return float(binomtest(counts.gained, discordant, 0.5).pvalue) if discordant else 1.0


def tango_score(counts: Discordance, *, difference: float) -> float:
    """How many standard errors the observed difference of two paired shares lies above a supposed one.

    The standard error is that under the supposed difference, so it is sound with few discordant texts or none
    (Tango 1998, Statistics in Medicine 17:891-908, equations 8 to 11).

    Args:
        counts: of the texts.
        difference: supposed of our share minus the other's, within (-1, 1).
    """
    size, gained, lost = counts.texts, counts.gained, counts.lost
    linear = -gained - lost + (2 * size - gained + lost) * difference
    constant = -lost * difference * (1 - difference)
    share_lost = (np.sqrt(max(linear**2 - 8 * size * constant, 0.0)) - linear) / (4 * size)
    distance = gained - lost - size * difference
    variance = size * (2 * share_lost + difference * (1 - difference))
    return float(distance / np.sqrt(variance)) if variance > 0 else float(np.sign(distance) * np.inf if distance else 0)


def tango_interval(counts: Discordance, *, confidence: float) -> tuple[float, float]:
    """The differences of two paired shares that the score test does not reject: an interval without resampling."""
    distance = float(ndtri((1 + confidence) / 2))

    def edge(sign: float) -> float:
        def excess(difference: float) -> float:
            return tango_score(counts, difference=difference) - sign * distance

        low, high = -1 + EDGE, 1 - EDGE
        if excess(low) <= 0:
            return -1.0
        return 1.0 if excess(high) >= 0 else float(brentq(excess, low, high, xtol=1e-10))

    return edge(1.0), edge(-1.0)


def share_not_worse(counts: Discordance, *, margin: float) -> float:
    """The p of 'our share is below the other's by the margin or more': small shows non-inferiority."""
    return float(ndtr(-tango_score(counts, difference=-margin)))


def share_not_better(counts: Discordance, *, margin: float) -> float:
    """The p of 'our share is above the other's by the margin or more': the other half of an equivalence test."""
    return float(ndtr(tango_score(counts, difference=margin)))


def not_above(samples: Array, *, bias: float, acceleration: float, threshold: float) -> float:
    """The p of 'the true value is at the threshold or below', by inverting the BCa interval.

    The p-value is the tail at which the interval's lower end (Efron 1987, equation 2.3) would touch the threshold, so
    test and interval cannot disagree. One resample is added to the count: p is never 0.

    Args:
        samples: (resamples,) of the value, all defined.
        bias: the BCa bias correction z0; 0 with `acceleration` 0 inverts the percentile interval.
        acceleration: of the BCa interval.
        threshold: the value supposed.
    """
    below = (np.count_nonzero(samples <= threshold) + 1) / (len(samples) + 1)
    if below >= 1:
        return 1.0
    distance = float(ndtri(below)) - bias
    stretched = 1 + acceleration * distance
    if stretched <= 0:  # beyond what the interval can reach: on the side that the distance tells
        return 0.5 if distance == 0 else (1.0 if distance > 0 else 1 / (len(samples) + 1))
    return float(max(ndtr(distance / stretched - bias), 1 / (len(samples) + 1)))


def approximate_randomisation(ours: Array, theirs: Array, *, rounds: int, seed: Sequence[int]) -> float:
    """Two-sided p of 'it makes no difference which system gave which answer', for micro F1.

    Each round swaps the two systems' answers to each text by the throw of a coin; p is the share of rounds, the
    observed one counted, whose F1s differ as much as the observed (Noreen 1989; Yeh 2000, C00-2137).

    Args:
        ours: (texts, 3) spans right, answered, gold.
        theirs: the same of the other system on the same texts.
        rounds: how many.
        seed: of the coin.
    """
    both, apart = (ours + theirs).sum(axis=0), ours - theirs
    apart = apart[apart.any(axis=1)]
    observed = abs(_micro_f1(ours.sum(axis=0)) - _micro_f1(theirs.sum(axis=0)))
    if not len(apart):
        return 1.0
    generator = np.random.default_rng(seed)
    at_once = max(1, CELLS_AT_ONCE // len(apart))
    extreme = 0
    for start in range(0, rounds, at_once):
        signs = generator.integers(0, 2, size=(min(at_once, rounds - start), len(apart))) * 2.0 - 1.0
        moved = signs @ apart
        found = np.abs(_micro_f1((both + moved) / 2) - _micro_f1((both - moved) / 2))
        extreme += int(np.count_nonzero(found >= observed - 1e-12))
    return (extreme + 1) / (rounds + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values adjusted for their family (Holm 1979).

    Reject those at or below alpha, and the chance of a single false rejection in the family stays at or below alpha.
    """
    size = len(p_values)
    adjusted, largest = [0.0] * size, 0.0
    for position, index in enumerate(sorted(range(size), key=lambda index: p_values[index])):
        largest = max(largest, min(1.0, (size - position) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def share_standard_error(counts: Discordance) -> float:
    """Standard error of the difference of two equally good systems' shares; one discordant text at least is assumed."""
    return float(np.sqrt(max(counts.gained + counts.lost, 1)) / counts.texts)


def detectable_margin(standard_error: float, *, alpha: float, two_sided: bool = False) -> float:
    """The smallest margin that a test of this precision shows with 80 % power where the two systems are equal.

    Args:
        standard_error: of the paired difference.
        alpha: of each one-sided test.
        two_sided: for equivalence (both sides must be shown) instead of non-inferiority.
    """
    missed = 1 - POWER
    return float((ndtri(1 - alpha) + ndtri(1 - (missed / 2 if two_sided else missed))) * standard_error)


def _micro_f1(sums: Array) -> Array:
    found: Array = 2 * sums[..., 0] / np.maximum(sums[..., 1] + sums[..., 2], 1)
    return found
