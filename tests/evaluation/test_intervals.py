"""The bootstrap: reproducible, paired, quick, covering what it claims, and quiet about what is undefined."""

from __future__ import annotations

import time

import numpy as np
import pytest
from predicted import LABELS, classification, random_spans, slots
from scipy import stats

from taskmix.config.plan import EvaluationSlice
from taskmix.config.schema import Evaluation
from taskmix.evaluation.intervals import draws, interval, resample
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
    assert (samples["one"] == samples["same"]).all()
    assert samples["one"] + samples["opposite"] == pytest.approx(np.ones(200))


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
    samples = np.array([0.5, 0.6, np.nan, 0.7, np.nan, 0.4])
    assert interval(samples, confidence=0.95) is None
    assert interval(np.array([]), confidence=0.95) is None


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
