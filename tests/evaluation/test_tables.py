"""Confusions, labels, reliability and errors, counted by hand."""

from __future__ import annotations

import pytest
from predicted import LABELS, classification, slots

from taskmix.data.schema import Span
from taskmix.evaluation.tables import MATRIX_LABELS, NO_SPAN, confusion, per_label, reliability, worst_errors

GOLD = ["a", "a", "a", "b", "unheard"]
PREDICTED = ["a", "b", "b", "b", "c"]


def test_a_confusion_matrix_has_a_row_for_every_gold_label_known_or_not():
    found = confusion(classification(GOLD, PREDICTED))
    assert found.labels == (*LABELS, "unheard")
    assert found.matrix[0] == (1, 2, 0, 0, 0, 0)
    assert found.matrix[5] == (0, 0, 1, 0, 0, 0)
    assert [(pair.gold, pair.predicted, pair.count) for pair in found.top] == [("a", "b", 2), ("unheard", "c", 1)]
    assert found.top[0].share == pytest.approx(2 / 3)


def test_spans_are_confused_where_their_words_agree_else_missed_or_made_up():
    gold = [[Span(0, 1, "x"), Span(2, 4, "y"), Span(5, 6, "x")]]
    predicted = [[Span(0, 1, "y"), Span(2, 3, "y"), Span(5, 6, "x")]]
    found = confusion(slots(gold, predicted))
    assert found.labels == ("x", "y", NO_SPAN)
    assert found.matrix == ((1, 1, 0), (0, 0, 1), (0, 1, 0))
    assert {(pair.gold, pair.predicted, pair.share) for pair in found.top} == {
        ("x", "y", 0.5),
        ("y", NO_SPAN, 1.0),
        (NO_SPAN, "y", None),
    }


def test_a_matrix_too_large_to_draw_is_left_out_but_not_its_largest_cells():
    unheard = [f"label_{number:02}" for number in range(MATRIX_LABELS)]
    found = confusion(classification(unheard, ["a"] * len(unheard)))
    assert found.matrix is None
    assert len(found.top) == 20
    assert found.top[0].gold == "label_00"


def test_precision_recall_and_f1_of_each_label():
    rows = {row.label: row for row in per_label(classification(GOLD, PREDICTED))}
    assert (rows["a"].precision, rows["a"].recall, rows["a"].f1) == (1.0, pytest.approx(1 / 3), 0.5)
    assert (rows["b"].gold, rows["b"].answered, rows["b"].right) == (1, 3, 1)
    assert (rows["never"].precision, rows["never"].recall, rows["never"].f1) == (None, None, None)
    assert (rows["unheard"].recall, rows["unheard"].f1) == (0.0, 0.0)


def test_slots_outside_the_label_space_have_a_row():
    rows = {row.label: row for row in per_label(slots([[Span(0, 1, "z")]], [[]]))}
    assert (rows["z"].gold, rows["z"].right) == (1, 0)


def test_reliability_bins_hold_their_answers():
    bins = reliability(classification(["a", "a", "b"], ["a", "b", "b"], probability=[0.95, 0.91, 0.3]), bins=10)
    assert [(one.low, one.count, one.accuracy) for one in bins] == [(0.2, 1, 1.0), (0.9, 2, 0.5)]
    assert bins[1].confidence == pytest.approx(0.93)


def test_the_surest_errors_come_first_and_those_without_an_answer_last():
    errors = worst_errors(classification(["a", "a", "a"], ["b", "a", "b"], probability=[0.6, 0.99, 0.8]))
    assert [(error.id, error.probability) for error in errors] == [("2", 0.8), ("0", 0.6)]
    spans = [[Span(0, 1, "x")], [Span(0, 1, "x")]]
    missed = worst_errors(slots(spans, [[], [Span(0, 1, "y")]]))
    assert [(error.predicted, error.probability) for error in missed] == [("y: 1", 0.75), (NO_SPAN, None)]
