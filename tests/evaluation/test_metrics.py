"""Scores against scikit-learn, seqeval and counts by hand."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
from predicted import LABELS, classification, random_spans, slots
from seqeval.metrics import f1_score as seqeval_f1
from seqeval.scheme import IOB2
from sklearn.metrics import accuracy_score, f1_score

from taskmix.data.schema import Span, spans_to_tags
from taskmix.evaluation.metrics import Measure, frame_exact_match, task_measures
from taskmix.evaluation.tables import confusion, reliability, worst_errors
from taskmix.modeling.answers import NO_ANSWER


def values(measures: tuple[Measure, ...]) -> dict[str, float]:
    return {one.name: one.score()[0] / one.score()[1] for one in measures if one.score()[1]}


def test_accuracy_and_macro_f1_are_those_of_scikit_learn():
    generator = np.random.default_rng(5)
    gold = [str(label) for label in generator.choice(LABELS[:4], 300, p=[0.7, 0.2, 0.08, 0.02])]
    predicted = [label if generator.random() < 0.7 else str(generator.choice(LABELS[:4])) for label in gold]
    found = values(task_measures(classification(gold, predicted), rows=300, ece_bins=15))
    assert found["accuracy"] == pytest.approx(accuracy_score(gold, predicted))
    assert found["macro_f1"] == pytest.approx(f1_score(gold, predicted, average="macro"))


def test_a_gold_label_outside_the_label_space_counts_as_wrong_and_as_a_label():
    predictions = classification(["a", "a", "unheard"], ["a", "a", "b"])
    found = values(task_measures(predictions, rows=3, ece_bins=5))
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["macro_f1"] == pytest.approx(f1_score(predictions.gold, predictions.predicted, average="macro"))


def test_span_f1_is_that_of_seqeval_strict_and_of_conlleval():
    generator = np.random.default_rng(7)
    texts = [int(generator.integers(1, 12)) for _ in range(200)]
    gold = [random_spans(generator, words=words) for words in texts]
    predicted = [
        spans if generator.random() < 0.6 else random_spans(generator, words=words)
        for spans, words in zip(gold, texts, strict=True)
    ]
    ours = values(task_measures(slots(gold, predicted), rows=200, ece_bins=15))["span_f1"]
    tags = [
        [spans_to_tags(spans, words=words) for spans, words in zip(side, texts, strict=True)]
        for side in (gold, predicted)
    ]
    assert ours == pytest.approx(seqeval_f1(*tags, mode="strict", scheme=IOB2))
    assert ours == pytest.approx(seqeval_f1(*tags))
    assert 0.3 < ours < 0.95


def test_precision_recall_and_exact_match_of_slots_by_hand():
    gold = [[Span(0, 1, "x"), Span(2, 4, "y")], [Span(0, 1, "x")], []]
    predicted = [[Span(0, 1, "x"), Span(2, 3, "y")], [], []]
    found = values(task_measures(slots(gold, predicted), rows=3, ece_bins=10))
    assert found["span_precision"] == pytest.approx(1 / 2)
    assert found["span_recall"] == pytest.approx(1 / 3)
    assert found["span_f1"] == pytest.approx(2 / 5)
    assert found["exact_match"] == pytest.approx(1 / 3)
    assert found["ece"] == pytest.approx(0.25), "two spans at 0.75, of which one is right"


def test_calibration_error_by_hand():
    predictions = classification(["a", "a", "b", "b"], ["a", "b", "b", "b"], probability=[0.95, 0.95, 0.55, 0.6])
    found = values(task_measures(predictions, rows=4, ece_bins=10))
    assert found["ece"] == pytest.approx((abs(1.9 - 1) + abs(1.15 - 2)) / 4)


def test_calibration_counts_answers_whose_probability_is_told_and_is_undefined_without_any():
    unknown = float("nan")
    predictions = classification(["a", "b"], ["a", "a"], probability=[0.9, unknown])
    found = {one.name: one.score() for one in task_measures(predictions, rows=2, ece_bins=10)}
    assert found["ece"] == (pytest.approx(0.1), 1)
    assert [(bin.count, bin.accuracy) for bin in reliability(predictions, bins=10)] == [(1, 1.0)]
    assert worst_errors(predictions)[0].probability is None
    silent = classification(["a", "b"], ["a", "a"], probability=[unknown, unknown])
    assert {one.name: one.score() for one in task_measures(silent, rows=2, ece_bins=10)}["ece"] == (0.0, 0.0)
    assert reliability(silent, bins=10) == ()


def test_whole_frame_counts_texts_with_every_task_right_among_those_labelled_for_all():
    intents = classification(["a", "b", "c"], ["a", "b", "d"], rows=[0, 1, 3])
    spans = slots([[Span(0, 1, "x")], [], [], []], [[Span(0, 1, "x")], [Span(0, 1, "y")], [], []])
    assert frame_exact_match([intents, spans], rows=4).score() == (1.0, 3.0)


def test_a_score_without_anything_to_count_has_denominator_zero():
    found = {one.name: one.score() for one in task_measures(slots([[], []], [[], []]), rows=2, ece_bins=5)}
    assert found["span_f1"] == (0.0, 0.0)
    assert found["exact_match"] == (2.0, 2.0)


def test_a_resample_scores_as_if_the_rows_were_repeated():
    gold, predicted = ["a", "b", "c", "d", "a"], ["a", "b", "a", "d", "b"]
    weights = np.array([[2, 0, 1, 1, 1], [0, 3, 0, 0, 2], [1, 1, 1, 1, 1]])
    measures = {one.name: one for one in task_measures(classification(gold, predicted), rows=5, ece_bins=5)}
    for line, score in zip(weights, measures["macro_f1"].resampled(weights.astype(float)), strict=True):
        repeated = [
            [label for label, times in zip(side, line, strict=True) for _ in range(times)] for side in (gold, predicted)
        ]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # scikit-learn warns of labels that are never answered
            assert score == pytest.approx(f1_score(*repeated, average="macro"))


def test_answers_that_are_none_are_counted_and_never_right():
    predicted = classification(["a", "a", "b"], ["a", NO_ANSWER, NO_ANSWER])
    scores = {measure.name: measure.score() for measure in task_measures(predicted, rows=3, ece_bins=5)}
    assert scores["invalid_rate"] == (2, 3)
    assert scores["accuracy"] == (1, 3)
    assert scores["macro_f1"] == (pytest.approx(2 / 3), 2), "a: 2 / (2 + 1); b: 0; no third label"
    assert confusion(predicted).labels[-1] == NO_ANSWER
    spans = replace(slots([[], [Span(0, 1, "x")]], [[], []]), invalid=(0,))
    scores = {measure.name: measure.score() for measure in task_measures(spans, rows=2, ece_bins=5)}
    assert scores["invalid_rate"] == (1, 2)
    assert scores["exact_match"] == (0, 2), "what could not be read is not the right answer 'none'"
