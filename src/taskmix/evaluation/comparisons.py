"""Two systems on one task of the same test set: not worse, worse, or more than this test set can tell.

Chooses the tests of `paired` by the score's kind and corrects them for the family of questions that one section of the
report asks. What follows from the outcomes is said in `verdicts` and `gate`.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import ndtri

from taskmix.config.plan import EvaluationSlice
from taskmix.config.schema import Config
from taskmix.evaluation.intervals import TANGO, Interval, Resampled, interval
from taskmix.evaluation.metrics import span_counts
from taskmix.evaluation.paired import (
    approximate_randomisation,
    detectable_margin,
    discordance,
    holm,
    mcnemar_exact,
    not_above,
    share_not_better,
    share_not_worse,
    share_standard_error,
    tango_interval,
)
from taskmix.evaluation.predictions import ClassificationPredictions, SlotPredictions
from taskmix.evaluation.report.model import PairedTest
from taskmix.evaluation.scorecard import Evaluated
from taskmix.evaluation.system_scores import SystemScores


@dataclass(frozen=True)
class Contestant:
    """A system to compare.

    Attributes:
        name: of the system.
        answers: task to the evaluation of the job that answers it.
        scores: of the same answers, with their resamples.
    """

    name: str
    answers: Mapping[str, Evaluated]
    scores: SystemScores


Question = tuple[Contestant, Contestant, str]
"""Ours, theirs, and the task: is ours not worse on it?"""


def compare_family(questions: Sequence[Question], *, config: Config) -> tuple[PairedTest, ...]:
    """Answer a family of questions, corrected for their number.

    A task that the same bundle answers in both systems is no question and does not count.

    Args:
        questions: each on systems measured on the same test data of the task.
        config: margins, confidence, resamples, seed.
    """
    tests = [compare_on_task(ours, theirs, task=task, config=config) for ours, theirs, task in questions]
    for name in ("p_difference", "p_not_worse", "p_equivalent"):
        asked = [index for index, test in enumerate(tests) if getattr(test, name) is not None]
        adjusted = holm([getattr(tests[index], name) for index in asked])
        for index, p in zip(asked, adjusted, strict=True):
            tests[index] = tests[index].model_copy(update={f"{name}_adjusted": p})
    return tuple(test.model_copy(update={"outcome": _outcome(test)}) for test in tests)


def compare_on_task(ours: Contestant, theirs: Contestant, *, task: str, config: Config) -> PairedTest:
    """The paired tests of one task, not yet corrected; `outcome` stays open."""
    first, second = ours.answers[task], theirs.answers[task]
    card = first.scorecard.tasks[task]
    our_answers, their_answers = first.predictions[task], second.predictions[task]
    about = _About(
        names=(ours.name, theirs.name),
        task=task,
        score=card.primary,
        texts=card.examples,
        margin=next((found for name, found in config.evaluation.margins.items() if name == card.primary), None),
        alpha=1 - config.evaluation.confidence,
    )
    if first.scorecard.job.manifest == second.scorecard.job.manifest:
        return about.test(difference=0.0, shared=True)
    apart = ours.scores.samples[task].minus(theirs.scores.samples[task])
    if apart.seeds > 1:
        return _compare_over_seeds(about, apart)
    if isinstance(our_answers, ClassificationPredictions) and isinstance(their_answers, ClassificationPredictions):
        return _compare_accuracies(about, our_answers, their_answers)
    assert isinstance(our_answers, SlotPredictions)
    assert isinstance(their_answers, SlotPredictions)
    slice = EvaluationSlice(seed=config.seed, evaluation=config.evaluation)
    return _compare_f1s(about, our_answers, their_answers, apart=apart, dataset=card.dataset, slice=slice)


@dataclass(frozen=True)
class _About:
    """What every test of one question says."""

    names: tuple[str, str]
    task: str
    score: str
    texts: int
    margin: float | None
    alpha: float

    def test(
        self,
        *,
        difference: float | None,
        shared: bool = False,
        found: Interval | None = None,
        standard_error: float | None = None,
        gained: int | None = None,
        lost: int | None = None,
        p_difference: float | None = None,
        p_not_worse: float | None = None,
        p_equivalent: float | None = None,
        several_seeds: bool = False,
    ) -> PairedTest:
        one, both = (
            None if standard_error is None else detectable_margin(standard_error, alpha=self.alpha, two_sided=two)
            for two in (False, True)
        )
        return PairedTest(
            system=self.names[0],
            against=self.names[1],
            task=self.task,
            score=self.score,
            texts=self.texts,
            shared=shared,
            difference=difference,
            interval=found,
            gained=gained,
            lost=lost,
            test=_test_name(self.score, several_seeds=several_seeds),
            p_difference=p_difference,
            margin=self.margin,
            p_not_worse=p_not_worse,
            p_equivalent=p_equivalent,
            alpha=self.alpha,
            detectable_margin=one,
            detectable_equivalence_margin=both,
            outcome="undecided",
        )


def _compare_accuracies(
    about: _About, ours: ClassificationPredictions, theirs: ClassificationPredictions
) -> PairedTest:
    counts, margin = discordance(ours.right, theirs.right), about.margin
    confidence = 1 - about.alpha
    low, high = tango_interval(counts, confidence=confidence)
    below = None if margin is None else share_not_worse(counts, margin=margin)
    above = None if margin is None else share_not_better(counts, margin=margin)
    return about.test(
        difference=counts.difference,
        found=Interval(low=low, high=high, confidence=confidence, method=TANGO),
        standard_error=share_standard_error(counts),
        gained=counts.gained,
        lost=counts.lost,
        p_difference=mcnemar_exact(counts),
        p_not_worse=below,
        p_equivalent=None if below is None or above is None else max(below, above),
    )


def _compare_f1s(
    about: _About,
    ours: SlotPredictions,
    theirs: SlotPredictions,
    *,
    apart: Resampled,
    dataset: str,
    slice: EvaluationSlice,
) -> PairedTest:
    if apart.value is None:
        return about.test(difference=None)
    seed = [slice.seed, zlib.crc32(dataset.encode()), zlib.crc32(about.task.encode())]
    p_difference = approximate_randomisation(
        span_counts(ours), span_counts(theirs), rounds=slice.evaluation.resamples, seed=seed
    )
    below = above = None
    if about.margin is not None:
        below = _not_below(apart, threshold=-about.margin, texts=about.texts)
        above = _not_below(apart.negated(), threshold=-about.margin, texts=about.texts)
    samples = apart.samples[~np.isnan(apart.samples)]
    spread = float(samples.std()) if samples.size else 0.0
    return about.test(
        difference=apart.value,
        found=interval(apart, confidence=slice.evaluation.confidence),
        standard_error=spread if spread > 0 else None,
        p_difference=p_difference,
        p_not_worse=below,
        p_equivalent=None if below is None or above is None else max(below, above),
    )


def _compare_over_seeds(about: _About, apart: Resampled) -> PairedTest:
    """Both levels of chance are in the resamples, so every question is put to these, whatever the score's kind."""
    if apart.value is None:
        return about.test(difference=None, several_seeds=True)
    samples = apart.samples[~np.isnan(apart.samples)]
    tail = float(np.quantile(samples, 1 - about.alpha) - np.median(samples))
    lower, upper = (_not_below(one, threshold=0.0, texts=about.texts) for one in (apart, apart.negated()))
    below = above = None
    if about.margin is not None:
        below = _not_below(apart, threshold=-about.margin, texts=about.texts)
        above = _not_below(apart.negated(), threshold=-about.margin, texts=about.texts)
    return about.test(
        difference=apart.value,
        found=interval(apart, confidence=1 - about.alpha),
        standard_error=tail / float(ndtri(1 - about.alpha)) if tail > 0 else None,
        p_difference=min(1.0, 2 * min(lower, upper)),
        p_not_worse=below,
        p_equivalent=None if below is None or above is None else max(below, above),
        several_seeds=True,
    )


def _test_name(
    score: str, *, several_seeds: bool
) -> Literal["exact McNemar", "approximate randomisation", "two-level bootstrap"]:
    if several_seeds:
        return "two-level bootstrap"
    return "exact McNemar" if score == "accuracy" else "approximate randomisation"


def _not_below(apart: Resampled, *, threshold: float, texts: int) -> float:
    """The p of 'the difference is at the threshold or below'.

    Where both systems score alike in every resample there is nothing to invert. Then p is the chance that none of the
    texts shows a difference, were so large a share of all texts apart as the threshold says: (1 - margin) ** texts.
    """
    samples = apart.samples[~np.isnan(apart.samples)]
    if not samples.size:
        return 1.0
    if not np.ptp(samples):
        return float((1 + threshold) ** texts) if samples[0] > threshold else 1.0
    bias, acceleration = apart.bca() or (0.0, 0.0)
    return not_above(samples, bias=bias, acceleration=acceleration, threshold=threshold)


def _outcome(test: PairedTest) -> Literal["not worse", "worse", "undecided"]:
    """Not worse where that is shown; worse where a loss is shown that is not shown to lie within the margin."""
    if test.shared or (test.p_not_worse_adjusted is not None and test.p_not_worse_adjusted <= test.alpha):
        return "not worse"
    lower = test.difference is not None and test.difference < 0
    apart = test.p_difference_adjusted is not None and test.p_difference_adjusted <= test.alpha
    return "worse" if lower and apart else "undecided"
