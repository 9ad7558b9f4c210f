"""A label that collapses behind a good mean is found; one that occurs too seldom is told as out of sight."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from predicted import classification, slots

from taskmix.data.schema import Span
from taskmix.evaluation.comparisons import Contestant
from taskmix.evaluation.labels import check_labels, label_changes
from taskmix.evaluation.scorecard import Evaluated


def contestant(name: str, predictions) -> Contestant:
    """Labels need the predictions alone."""
    answers = {"intent": Evaluated("nowhere", SimpleNamespace(), {"intent": predictions})}
    return Contestant(name, answers, SimpleNamespace())


def duel(*, predicted: list[str], served: list[str], gold: list[str], most: float = 0.2):
    ours, theirs = classification(gold, predicted), classification(gold, served)
    return check_labels(contestant("new", ours), contestant("old", theirs), most=most, alpha=0.05)


def test_changes_are_counted_by_hand():
    gold = ["a", "a", "a", "b", "b", "c"]
    ours = classification(gold, ["a", "b", "b", "b", "a", "c"])
    theirs = classification(gold, ["a", "a", "a", "a", "b", "a"])
    changes = {change.name: change for change in label_changes(ours, theirs)}
    first = changes["intent/a"]
    assert (first.gold, first.gained, first.lost, first.known) == (3, 0, 2, 3)
    assert first.drop == pytest.approx(2 / 3)
    assert first.p_loss == pytest.approx(1 / 4)
    assert first.least_p == pytest.approx(1 / 8)
    assert (changes["intent/b"].gained, changes["intent/b"].lost) == (1, 1)
    assert changes["intent/c"].drop == -1


def test_slots_are_counted_by_gold_span():
    x, y = Span(0, 1, "x"), Span(1, 2, "y")
    changes = label_changes(slots([[x, y], [x]], [[x], []]), slots([[x, y], [x]], [[x, y], [x]]))
    assert [(change.name, change.gold, change.lost) for change in changes] == [("slots/x", 2, 1), ("slots/y", 1, 1)]


def test_a_label_that_collapses_behind_a_better_mean_is_refused():
    gold = ["a"] * 200 + ["b"] * 20
    served = ["a"] * 170 + ["b"] * 30 + ["b"] * 20
    check = duel(gold=gold, served=served, predicted=["a"] * 220)
    assert not check.passed
    assert "intent/b lost 100.0 points of its recall (20 lost, 0 gained of 20" in check.evidence


def test_a_loss_within_the_allowed_one_or_within_chance_passes_with_the_largest_told():
    gold = ["a"] * 50 + ["b"] * 8
    check = duel(gold=gold, served=gold, predicted=["a"] * 50 + ["a"] * 2 + ["b"] * 6)
    assert check.passed
    assert "the largest drop is 25.0 points of intent/b" in check.evidence


def test_labels_that_occur_too_seldom_are_told():
    gold = ["a"] * 50 + ["b"] * 3
    check = duel(gold=gold, served=gold, predicted=["a"] * 53)
    assert check.passed
    assert "1 of them occur too seldom to show even a total loss" in check.evidence
