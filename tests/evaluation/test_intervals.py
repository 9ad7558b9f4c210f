"""The bootstrap: reproducible, paired, quick, covering what it claims, and quiet about what is undefined."""

from __future__ import annotations

import time

import numpy as np
import pytest
from predicted import LABELS, classification, random_spans, slots
from scipy import stats

from taskmix.config.plan import EvaluationSlice
from taskmix.config.schema import Evaluation
from taskmix.evaluation.intervals import BCA, PERCENTILE, Resampled, draws, interval, mean_of, resample
from taskmix.evaluation.metrics import task_measures
from taskmix.evaluation.scoring import score_measures


def scores_of(measures, *, resamples: int = 400, seed: int = 3):
    slice = EvaluationSlice(seed=seed, evaluation=Evaluation(resamples=resamples))
    return score_measures({one.name: one for one in measures}, dataset="d", slice=slice)


def right_in(share: float, *, size: int, seed: int) -> list[bool]:
    return list(np.random.default_rng(seed).random(size) < share)


def answers(right: list[bool]):
    return classification(["a"] * len(right), ["a" if one else "b" for one in right])


def test_every_resample_has_as_many_rows_as_the_test_split():
    weights = np.concatenate(list(draws(50, resamples=300, seed=1, dataset="d")))
    assert weights.shape == (300, 50)
    assert (weights.sum(axis=1) == 50).all()
    assert weights.mean(axis=0) == pytest.approx(np.ones(50), abs=0.25)


def test_seed_and_dataset_decide_the_draws():
    first = np.concatenate(list(draws(40, resamples=100, seed=1, dataset="d")))
    again = np.concatenate(list(draws(40, resamples=100, seed=1, dataset="d")))
    other = np.concatenate(list(draws(40, resamples=100, seed=1, dataset="e")))
    assert (first == again).all()
    assert (first != other).any()


def test_systems_and_tasks_are_resampled_with_the_same_draws():
    size = 200
    right = right_in(0.8, size=size, seed=1)
    keys = {
        name: task_measures(answers(flags), rows=size, ece_bins=5)[0]
        for name, flags in (("one", right), ("same", right), ("opposite", [not flag for flag in right]))
    }
    samples = resample(keys, rows=size, resamples=200, seed=3, dataset="d")
    assert (samples["one"].samples == samples["same"].samples).all()
    assert samples["one"].samples + samples["opposite"].samples == pytest.approx(np.ones(200))


def test_interval_of_accuracy_is_near_the_normal_approximation():
    score = scores_of(task_measures(answers(right_in(0.85, size=2000, seed=2)), rows=2000, ece_bins=5), resamples=4000)
    found = score["accuracy"]
    half = 1.96 * np.sqrt(found.value * (1 - found.value) / 2000)
    assert found.interval.low == pytest.approx(found.value - half, abs=0.0015)
    assert found.interval.high == pytest.approx(found.value + half, abs=0.0015)


def test_interval_covers_the_truth_about_as_often_as_it_claims():
    hits = 0
    for seed in range(200):
        measures = task_measures(answers(right_in(0.8, size=300, seed=seed)), rows=300, ece_bins=5)[:1]
        found = scores_of(measures, seed=seed)["accuracy"].interval
        hits += found.low <= 0.8 <= found.high
    assert stats.binomtest(hits, 200, 0.95).pvalue > 0.001, f"{hits} of 200"


def test_undefined_and_certain_scores_get_null_and_a_note_and_never_nan():
    nothing = scores_of(task_measures(slots([[], []], [[], []]), rows=2, ece_bins=5))
    assert nothing["span_f1"].value is None
    assert "undefined" in nothing["span_f1"].note
    certain = scores_of(task_measures(classification(["a"], ["a"]), rows=1, ece_bins=5))["accuracy"]
    assert (certain.value, certain.interval) == (1.0, None)
    assert "do not differ" in certain.note
    for score in (*nothing.values(), certain):
        assert "NaN" not in score.model_dump_json()


def test_a_score_undefined_in_many_resamples_gets_no_interval():
    holes = np.array([0.5, 0.6, np.nan, 0.7, np.nan, 0.4])
    assert interval(Resampled(0.55, holes, {}), confidence=0.95) is None
    assert interval(Resampled(None, np.array([]), {}), confidence=0.95) is None


def test_bca_is_scipys_for_a_skewed_score():
    """scipy.stats.bootstrap, its own resamples and jackknife, over the same rows: a ratio of sums of few spans."""
    generator = np.random.default_rng(5)
    gold = [random_spans(generator, words=6) for _ in range(60)]
    found = [spans if generator.random() < 0.75 else random_spans(generator, words=6) for spans in gold]
    (measure, *_) = task_measures(slots(gold, found), rows=60, ece_bins=5)
    ours = resample({0: measure}, rows=60, resamples=20_000, seed=1, dataset="d")[0]
    counts = measure.statistics.toarray()

    def f1(index, axis=-1):
        sums = counts[index].sum(axis=axis - 1 if axis < 0 else axis)
        return 2 * sums[..., 0] / (sums[..., 1] + sums[..., 2])

    theirs = stats.bootstrap(
        (np.arange(60),), f1, vectorized=True, n_resamples=20_000, method="BCa", rng=np.random.default_rng(2)
    ).confidence_interval
    answer = interval(ours, confidence=0.95)
    assert answer.method == BCA
    assert (answer.low, answer.high) == pytest.approx((theirs.low, theirs.high), abs=0.003)


def test_bca_ends_by_hand():
    """z0 = 0 and a = 0 give the percentile interval; Efron's formula by hand gives the shifted quantiles."""
    samples = np.linspace(0, 1, 1001)
    even = interval(Resampled(0.5, samples, {"d": np.array([-1.0, 1.0])}), confidence=0.9)
    assert (even.low, even.high) == pytest.approx((0.05, 0.95), abs=0.001)
    moves = np.array([2.0, -1.0, -1.0])
    skewed = interval(Resampled(0.4, samples, {"d": moves}), confidence=0.9)
    bias, acceleration = stats.norm.ppf(0.4), 6 / (6 * 6**1.5)
    for end, tail in ((skewed.low, 0.05), (skewed.high, 0.95)):
        moved = bias + stats.norm.ppf(tail)
        assert end == pytest.approx(stats.norm.cdf(bias + moved / (1 - acceleration * moved)), abs=0.001)


def test_where_bca_is_undefined_the_percentile_interval_says_so():
    samples = np.linspace(0.6, 0.9, 200)
    outside = interval(Resampled(0.5, samples, {"d": np.array([1.0, -1.0])}), confidence=0.95)
    assert outside.method == PERCENTILE
    unmoved = interval(Resampled(0.7, samples, {}), confidence=0.95)
    assert unmoved.method == PERCENTILE


def test_leaving_out_one_row_is_counting_again_without_it():
    generator = np.random.default_rng(3)
    gold = [str(label) for label in generator.choice(LABELS[:3], 12)]
    predicted = [str(label) for label in generator.choice(LABELS[:3], 12)]
    for measure, position in zip(
        task_measures(classification(gold, predicted), rows=12, ece_bins=4), range(4), strict=True
    ):
        for row in range(12):
            rest = [index for index in range(12) if index != row]
            again = task_measures(
                classification([gold[i] for i in rest], [predicted[i] for i in rest]), rows=11, ece_bins=4
            )[position]
            numerator, denominator = again.score()
            assert measure.leave_one_out()[row] == pytest.approx(numerator / denominator)


def test_the_mean_over_datasets_moves_as_independent_samples_do():
    first = Resampled(0.8, np.array([0.7, 0.9]), {"one": np.array([0.1, -0.1])})
    second = Resampled(0.6, np.array([0.5, 0.7]), {"one": np.array([0.3, 0.1])})
    third = Resampled(0.1, np.array([0.2, 0.0]), {"two": np.array([0.6])})
    mean = mean_of([first, second, third])
    assert mean.value == pytest.approx(0.5)
    assert mean.samples == pytest.approx([1.4 / 3, 1.6 / 3])
    assert mean.deviations["one"] == pytest.approx([0.4 / 3, 0.0])
    assert mean.deviations["two"] == pytest.approx([0.2])


def test_a_thousand_resamples_of_the_largest_test_set_take_seconds():
    size, generator = 7532, np.random.default_rng(1)
    gold = [str(label) for label in generator.choice(LABELS, size)]
    predicted = [label if generator.random() < 0.8 else str(generator.choice(LABELS)) for label in gold]
    spans = [random_spans(generator, words=12) for _ in range(size)]
    found = [each if generator.random() < 0.7 else random_spans(generator, words=12) for each in spans]
    start = time.perf_counter()
    scores = scores_of(
        (
            *task_measures(classification(gold, predicted), rows=size, ece_bins=15),
            *(one for one in task_measures(slots(spans, found), rows=size, ece_bins=15) if one.name == "span_f1"),
        ),
        resamples=1000,
    )
    seconds = time.perf_counter() - start
    assert scores["span_f1"].interval.high - scores["span_f1"].interval.low < 0.03
    assert scores["macro_f1"].interval.low < scores["macro_f1"].value < scores["macro_f1"].interval.high
    assert seconds < 15, "about one second on an idle core; wide, since tests run side by side"
