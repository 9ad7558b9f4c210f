"""Do the report's statistics hold what they claim? Simulated: coverage of intervals, false alarms, power.

    python benchmarks/simulated_tests.py              # half a minute on one free core
    python benchmarks/simulated_tests.py --trials 50  # quicker and rougher

Worlds with known truth are drawn again and again, and the library's own functions judge each draw as `benchmark` would.
The number of trials is a bound on the time; every rate is printed with its simulation error (Clopper-Pearson, 95 %).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.stats import binomtest

from taskmix.evaluation.intervals import Resampled, interval, resample
from taskmix.evaluation.metrics import Measure
from taskmix.evaluation.paired import (
    Discordance,
    approximate_randomisation,
    detectable_margin,
    discordance,
    mcnemar_exact,
    not_above,
    share_not_better,
    share_not_worse,
    share_standard_error,
    tango_interval,
)
from taskmix.evaluation.seeds import over_seeds

Array = NDArray[np.float64]
RESAMPLES = 1000
ALPHA = 0.05
LARGE = 1_000_000
"""Texts that stand for the whole world: its F1 is taken as the truth."""


@dataclass(frozen=True)
class Rate:
    """How often something happened, against how often it should."""

    what: str
    promised: str
    happened: int
    trials: int

    def line(self) -> str:
        """A row of the printed table."""
        low, high = binomtest(self.happened, self.trials).proportion_ci(0.95)
        share = self.happened / self.trials
        return f"{self.what:<66} {self.promised:>9} {share:8.1%}  ({low:.1%} to {high:.1%}, {self.trials:,} trials)"


def draw_spans(generator: np.random.Generator, *, texts: int, skill: float, other: float) -> tuple[Array, Array]:
    """Two systems' (texts, 3) span counts: right, answered, gold.

    Texts are easy or hard for both alike, so that systems err together and spans of one text hang together.
    """
    gold = generator.poisson(1.2, texts)
    ease = generator.beta(4, 1, texts) / 0.8
    common = generator.random(texts) < 0.75  # texts on which both systems say the same
    ours = _spans(generator, gold, np.minimum(ease * skill, 1))
    theirs = np.where(common[:, None], ours, _spans(generator, gold, np.minimum(ease * other, 1)))
    return ours, theirs.astype(np.float64)


def _spans(generator: np.random.Generator, gold: NDArray[np.int64], chance: Array) -> Array:
    right = generator.binomial(gold, chance)
    wrong = generator.poisson(0.15, len(gold))
    return np.stack([right, right + wrong, gold], axis=1).astype(np.float64)


def f1(counts: Array) -> float:
    """Micro F1 of (texts, 3) counts."""
    right, answered, gold = counts.sum(axis=0)
    return float(2 * right / (answered + gold))


def resampled(counts: Array, *, seed: int) -> Resampled:
    """The library's bootstrap of micro F1."""
    measure = Measure("span_f1", sparse.csr_array(counts), lambda sums: (2 * sums[..., 0], sums[..., 1] + sums[..., 2]))
    return resample({"f1": measure}, rows=len(counts), resamples=RESAMPLES, seed=seed, dataset="d")["f1"]


def coverage_of_scores(trials: int) -> Iterator[Rate]:
    """Do 95 % intervals hold the truth 95 times in 100?"""
    for texts in (100, 1000):
        hits = accuracy_hits = 0
        for seed in range(trials):
            generator = np.random.default_rng([1, texts, seed])
            ours, _ = draw_spans(generator, texts=texts, skill=0.85, other=0.85)
            hits += _holds(interval(resampled(ours, seed=seed), confidence=0.95), truth_of(skill=0.85, other=0.85)[0])
            right = generator.random(texts) < 0.9
            found = resample({0: _share(right)}, rows=texts, resamples=RESAMPLES, seed=seed, dataset="d")[0]
            accuracy_hits += _holds(interval(found, confidence=0.95), 0.9)
        yield Rate(f"BCa interval of an accuracy of 90 %, {texts} texts, holds it", "95 %", accuracy_hits, trials)
        yield Rate(f"BCa interval of span F1, {texts} texts, holds it", "95 %", hits, trials)


def coverage_of_differences(trials: int) -> Iterator[Rate]:
    """Do intervals of paired differences hold the true difference?"""
    ours, theirs = truth_of(skill=0.85, other=0.80)
    hits = 0
    for seed in range(trials):
        first, second = draw_spans(np.random.default_rng([2, seed]), texts=500, skill=0.85, other=0.80)
        apart = resampled(first, seed=seed).minus(resampled(second, seed=seed))
        hits += _holds(interval(apart, confidence=0.95), ours - theirs)
    yield Rate("BCa interval of a difference of span F1, 500 texts, holds it", "95 %", hits, trials)
    many = trials * 10
    for texts, gain, loss in ((100, 0.03, 0.05), (1000, 0.03, 0.05), (3000, 0.01, 0.01)):
        found = _discordant(texts, gain=gain, loss=loss, trials=many, seed=3)
        hits = sum(low <= gain - loss <= high for low, high in (tango_interval(c, confidence=0.95) for c in found))
        yield Rate(f"Tango interval, {texts} texts, {gain:.0%} gained {loss:.0%} lost, holds it", "95 %", hits, many)


def false_alarms(trials: int) -> Iterator[Rate]:
    """How often is a difference, 'not worse' or 'equivalent' claimed where it is not so?"""
    many = trials * 10
    for texts in (300, 3000):
        equal = _discordant(texts, gain=0.03, loss=0.03, trials=many, seed=4)
        alarms = sum(mcnemar_exact(counts) <= ALPHA for counts in equal)
        yield Rate(f"McNemar finds a difference of equal accuracies, {texts} texts", "<= 5 %", alarms, many)
        worse = _discordant(texts, gain=0.02, loss=0.04, trials=many, seed=5)
        alarms = sum(share_not_worse(counts, margin=0.02) <= ALPHA for counts in worse)
        yield Rate(f"'not worse by 2 points' of a loss of just 2 points, {texts} texts", "5 %", alarms, many)
        alarms = sum(
            max(share_not_worse(counts, margin=0.02), share_not_better(counts, margin=0.02)) <= ALPHA
            for counts in worse
        )
        yield Rate(f"'equivalent within 2 points' of a loss of 2 points, {texts} texts", "<= 5 %", alarms, many)
    difference = not_worse = 0
    ours, theirs = truth_of(skill=0.70, other=0.85)
    for seed in range(trials):
        generator = np.random.default_rng([6, seed])
        first, second = draw_spans(generator, texts=500, skill=0.85, other=0.85)
        difference += approximate_randomisation(first, second, rounds=RESAMPLES, seed=[seed]) <= ALPHA
        first, second = draw_spans(generator, texts=500, skill=0.70, other=0.85)
        not_worse += _shown(first, second, margin=theirs - ours, seed=seed)
    yield Rate("randomisation finds a difference of equal F1s, 500 texts", "5 %", difference, trials)
    yield Rate(
        f"'not worse' by a margin that is just the loss ({theirs - ours:.3f} F1), 500 texts", "5 %", not_worse, trials
    )


def power(trials: int) -> Iterator[Rate]:
    """Is 'not worse' shown four times in five at the detectable margin, and a 3-point loss never waved through?"""
    many = trials * 10
    for texts in (1000, 3000):
        equal = _discordant(texts, gain=0.025, loss=0.025, trials=many, seed=7)
        expected = share_standard_error(Discordance(texts, round(texts * 0.025), round(texts * 0.025)))
        margin = detectable_margin(expected, alpha=ALPHA)
        shown = sum(share_not_worse(counts, margin=margin) <= ALPHA for counts in equal)
        yield Rate(f"'not worse' at the detectable margin ({margin * 100:.2f}), {texts} texts", "80 %", shown, many)
    worse = _discordant(3000, gain=0.02, loss=0.05, trials=many, seed=8)
    passed = sum(share_not_worse(counts, margin=0.01) <= ALPHA for counts in worse)
    yield Rate("a loss of 3 points passes a margin of 1, 3000 texts", "0 %", passed, many)


def coverage_over_seeds(trials: int) -> Iterator[Rate]:
    """Do intervals over three training seeds hold what the recipe is worth, and the difference of two such recipes?"""
    for spread, told in ((0.0, "alike"), (SEED_SPREAD, "1.4 points apart")):
        truth = float(np.mean(_chances(np.random.default_rng(0), texts=20_000, seeds=400, spread=spread)))
        several = first = apart = 0
        for trial in range(trials):
            generator = np.random.default_rng([9, trial, round(spread * 100)])
            ease = generator.normal(EASE, 2, 500)
            measures = {
                (system, seed): _share(generator.random(500) < chances)
                for system in "ab"
                for seed, chances in enumerate(_chances(generator, ease=ease, seeds=3, spread=spread))
            }
            found = resample(measures, rows=500, resamples=RESAMPLES, seed=trial, dataset="d")
            ours, theirs = (over_seeds([found[s, n] for n in range(3)], stream=[trial, s]) for s in "ab")
            several += _holds(interval(ours, confidence=0.95), truth)
            first += _holds(interval(found["a", 0], confidence=0.95), truth)
            apart += _holds(interval(ours.minus(theirs), confidence=0.95), 0.0)
        yield Rate(f"two-level interval, 3 seeds {told}, 500 texts, holds it", "95 %", several, trials)
        yield Rate(f"the same of the difference of two equal recipes, {told}", "95 %", apart, trials)
        yield Rate(f"interval of one seed alone, seeds {told}, holds it", "", first, trials)


EASE = 2.6
"""Mean log odds of a right answer, with a standard deviation of 2 over texts: an accuracy of about 85 %."""
SEED_SPREAD = 0.15
"""Standard deviation over seeds of the log odds: 1.4 points of accuracy."""


def _chances(
    generator: np.random.Generator, *, seeds: int, spread: float, texts: int = 0, ease: Array | None = None
) -> Array:
    """(seeds, texts) each seed's chance to answer each text rightly."""
    known = generator.normal(EASE, 2, texts) if ease is None else ease
    chances: Array = 1 / (1 + np.exp(-(known + generator.normal(0, spread, (seeds, 1)))))
    return chances


def _share(right: NDArray[np.bool_]) -> Measure:
    statistics = np.stack([right, np.ones(len(right))], axis=1).astype(np.float64)
    return Measure("accuracy", sparse.csr_array(statistics), lambda sums: (sums[..., 0], sums[..., 1]))


TRUTHS: dict[tuple[float, float], tuple[float, float]] = {}


def truth_of(*, skill: float, other: float) -> tuple[float, float]:
    """Both systems' F1 in the whole world."""
    if (skill, other) not in TRUTHS:
        ours, theirs = draw_spans(np.random.default_rng(0), texts=LARGE, skill=skill, other=other)
        TRUTHS[skill, other] = f1(ours), f1(theirs)
    return TRUTHS[skill, other]


def _discordant(texts: int, *, gain: float, loss: float, trials: int, seed: int) -> list[Discordance]:
    """What test sets of a world say: each text is gained, lost, or answered alike."""
    generator = np.random.default_rng([seed, texts])
    found = []
    for _ in range(trials):
        kind = generator.random(texts)
        found.append(discordance(kind < gain, (kind >= gain) & (kind < gain + loss)))
    return found


def _shown(ours: Array, theirs: Array, *, margin: float, seed: int) -> bool:
    apart = resampled(ours, seed=seed).minus(resampled(theirs, seed=seed))
    bias, acceleration = apart.bca() or (0.0, 0.0)
    return not_above(apart.samples, bias=bias, acceleration=acceleration, threshold=-margin) <= ALPHA


def _holds(found: object, truth: float) -> bool:
    """No interval counts as a miss."""
    return found is not None and found.low <= truth <= found.high  # type: ignore[attr-defined]


def main() -> None:
    """Print every rate."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=400, help="test sets a bootstrap rate; the others take ten times")
    trials = parser.parse_args().trials
    start = time.perf_counter()
    print(f"{'':<66} {'promised':>9} {'found':>8}")
    parts: tuple[Callable[[int], Iterator[Rate]], ...] = (
        coverage_of_scores,
        coverage_of_differences,
        false_alarms,
        power,
        coverage_over_seeds,
    )
    for part in parts:
        for rate in part(trials):
            print(rate.line(), flush=True)
    print(f"{trials:,} trials a bootstrap rate, {RESAMPLES:,} resamples each, {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
