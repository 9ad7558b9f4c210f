"""Paired tests agree with other implementations where there are any, and with counting by hand where there are none."""

from __future__ import annotations

import numpy as np
import pytest
from predicted import random_spans, slots
from scipy import stats
from scipy.optimize import minimize_scalar
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import ttost_paired

from taskmix.evaluation.intervals import interval, resample
from taskmix.evaluation.metrics import span_counts, task_measures
from taskmix.evaluation.paired import (
    Discordance,
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
    tango_score,
)


def test_discordant_texts_are_counted():
    ours = np.array([True, True, False, False, True])
    theirs = np.array([True, False, True, False, False])
    counts = discordance(ours, theirs)
    assert counts == Discordance(texts=5, gained=2, lost=1)
    assert counts.difference == pytest.approx(0.2)


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (0, 5), (12, 5), (40, 71), (7, 7)])
def test_mcnemar_is_statsmodels(gained, lost):
    table = [[30, gained], [lost, 9]]
    if gained + lost == 0:
        assert mcnemar_exact(Discordance(39, 0, 0)) == 1.0
    else:
        expected = mcnemar(table, exact=True).pvalue
        assert mcnemar_exact(Discordance(39 + gained + lost, gained, lost)) == pytest.approx(expected)


def test_mcnemar_by_hand():
    """Five texts lost and none gained: 2 x (1/2)^5."""
    assert mcnemar_exact(Discordance(texts=100, gained=0, lost=5)) == pytest.approx(2 / 32)


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (0, 6), (3, 9), (20, 14)])
@pytest.mark.parametrize("supposed", [-0.08, -0.02, 0.0, 0.05])
def test_the_score_test_uses_the_likeliest_share_under_the_supposed_difference(gained, lost, supposed):
    """The closed form against a numerical search of the likelihood's maximum."""
    size = 120

    def unlikelihood(share_lost: float) -> float:
        parts = (
            (gained, share_lost + supposed),
            (lost, share_lost),
            (size - gained - lost, 1 - 2 * share_lost - supposed),
        )
        return -sum(count * np.log(max(share, 1e-300)) for count, share in parts if count)

    low, high = max(0.0, -supposed), (1 - supposed) / 2
    share_lost = minimize_scalar(unlikelihood, bounds=(low, high), method="bounded", options={"xatol": 1e-12}).x
    variance = size * (2 * share_lost + supposed - supposed**2)
    if variance > 1e-6:
        expected = (gained - lost - size * supposed) / np.sqrt(variance)
        assert tango_score(Discordance(size, gained, lost), difference=supposed) == pytest.approx(expected, abs=1e-3)


def test_the_score_test_of_no_difference_is_mcnemars_without_correction():
    counts = Discordance(texts=500, gained=12, lost=25)
    expected = mcnemar([[400, 12], [25, 63]], exact=False, correction=False)
    assert tango_score(counts, difference=0.0) ** 2 == pytest.approx(expected.statistic)


def test_interval_and_tests_of_shares_agree():
    counts = Discordance(texts=300, gained=8, lost=15)
    low, high = tango_interval(counts, confidence=0.90)
    assert low < counts.difference < high
    assert share_not_worse(counts, margin=-low) == pytest.approx(0.05, abs=1e-6)
    assert share_not_better(counts, margin=high) == pytest.approx(0.05, abs=1e-6)


def test_equal_answers_on_every_text_leave_the_doubt_of_their_number():
    few, many = Discordance(20, 0, 0), Discordance(2000, 0, 0)
    assert share_not_worse(few, margin=0.01) > 0.05 > share_not_worse(many, margin=0.01)
    assert tango_interval(few, confidence=0.95)[1] > 0.1
    assert tango_interval(many, confidence=0.95)[1] < 0.002


def test_all_texts_lost_has_an_interval_that_ends_at_minus_one():
    assert tango_interval(Discordance(10, 0, 10), confidence=0.95)[0] == pytest.approx(-1.0, abs=1e-6)


def test_equivalence_of_many_texts_is_statsmodels_paired_tost():
    generator = np.random.default_rng(4)
    theirs = generator.random(4000) < 0.88
    ours = np.where(generator.random(4000) < 0.05, generator.random(4000) < 0.5, theirs)
    counts = discordance(ours, theirs)
    _, (_, above, _), (_, below, _) = ttost_paired(ours.astype(float), theirs.astype(float), -0.008, 0.008)
    assert share_not_worse(counts, margin=0.008) == pytest.approx(above, abs=0.01)
    assert share_not_better(counts, margin=0.008) == pytest.approx(below, abs=0.01)


def test_p_of_resamples_inverts_the_bca_interval():
    generator = np.random.default_rng(8)
    gold = [random_spans(generator, words=8) for _ in range(150)]
    found = [spans if generator.random() < 0.7 else random_spans(generator, words=8) for spans in gold]
    measure = task_measures(slots(gold, found), rows=150, ece_bins=5)[0]
    resampled = resample({0: measure}, rows=150, resamples=20_000, seed=2, dataset="d")[0]
    bias, acceleration = resampled.bca()
    low = interval(resampled, confidence=0.90).low
    p = not_above(resampled.samples, bias=bias, acceleration=acceleration, threshold=low)
    assert p == pytest.approx(0.05, abs=0.001)


def test_p_of_resamples_by_hand_is_their_share_and_never_zero():
    samples = np.arange(1, 100) / 100
    assert not_above(samples, bias=0, acceleration=0, threshold=0.045) == pytest.approx(5 / 100)
    assert not_above(samples, bias=0, acceleration=0, threshold=0.0) == pytest.approx(1 / 100)
    assert not_above(samples, bias=0, acceleration=0, threshold=2.0) == 1.0


def span_answers(size: int, *, seed: int):
    generator = np.random.default_rng(seed)
    gold = [random_spans(generator, words=6) for _ in range(size)]
    return [
        span_counts(slots(gold, [each if generator.random() < skill else each[1:] for each in gold]))
        for skill in (0.85, 0.75)
    ]


def test_approximate_randomisation_is_scipys_permutation_test():
    ours, theirs = span_answers(80, seed=6)

    def apart(first, second, axis=-1):
        def f1(index):
            sums = np.where(index[..., None] >= 80, theirs[index % 80], ours[index % 80]).sum(axis=-2)
            return 2 * sums[..., 0] / (sums[..., 1] + sums[..., 2])

        return np.abs(f1(first) - f1(second))

    expected = stats.permutation_test(
        (np.arange(80), np.arange(80) + 80),
        apart,
        permutation_type="samples",
        alternative="greater",
        vectorized=True,
        n_resamples=4000,
        rng=np.random.default_rng(1),
    ).pvalue
    found = approximate_randomisation(ours, theirs, rounds=4000, seed=[1])
    assert found == pytest.approx(expected, abs=0.02)


def test_approximate_randomisation_by_hand():
    """Three texts apart, all for ours: of 8 ways to swap, 2 are as extreme."""
    ours, theirs = np.array([[1.0, 1, 1]] * 3), np.array([[0.0, 1, 1]] * 3)
    assert approximate_randomisation(ours, theirs, rounds=20_000, seed=[3]) == pytest.approx(0.25, abs=0.01)
    assert approximate_randomisation(ours, ours, rounds=100, seed=[3]) == 1.0


def test_holm_is_statsmodels():
    p_values = [0.01, 0.04, 0.03, 0.005, 0.8, 0.04]
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1])
    assert holm([]) == []


def test_detectable_margins_are_those_of_the_papers_test_sets():
    """5 % discordant: 0.75 points on 7,532 texts and 1.2 on 2,974, for equivalence with 80 % power."""
    margins = [
        detectable_margin(share_standard_error(Discordance(size, 0, round(size * 0.05))), alpha=0.05, two_sided=True)
        for size in (7532, 2974)
    ]
    assert margins == pytest.approx([0.0075, 0.012], abs=0.0001)


def test_an_equal_system_is_shown_not_worse_by_the_detectable_margin_four_times_in_five():
    generator, size, shown = np.random.default_rng(12), 2000, 0
    expected = Discordance(size, 50, 50)
    margin = detectable_margin(share_standard_error(expected), alpha=0.05)
    for _ in range(400):
        gained, lost, _ = generator.multinomial(size, [0.025, 0.025, 0.95])
        shown += share_not_worse(Discordance(size, int(gained), int(lost)), margin=margin) < 0.05
    assert stats.binomtest(shown, 400, 0.8).pvalue > 0.001, f"{shown} of 400"
