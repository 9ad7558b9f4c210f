"""The population stability index: by hand on small counts, quiet on equal distributions, loud on others."""

from __future__ import annotations

import math
import random

import pytest

from taskmix.data.dataset import Row
from taskmix.data.drift import shifts
from taskmix.data.schema import Span


def rows(labels: list[str], *, words: int = 4) -> list[Row]:
    return [Row(str(n), " ".join(["word"] * words), {"intent": label}) for n, label in enumerate(labels)]


def by_feature(known: list[Row], new: list[Row]) -> dict[str, float]:
    return {shift.feature: shift.psi for shift in shifts(known, new, tasks=["intent"])}


def test_index_of_labels_is_that_of_the_formula() -> None:
    found = by_feature(rows(["on"] * 60 + ["off"] * 40), rows(["on"] * 40 + ["off"] * 60))
    p, q = (40 + 0.5) / (100 + 1), (60 + 0.5) / (100 + 1)
    assert found["intent labels"] == pytest.approx(2 * (p - q) * math.log(p / q))
    assert found["words a text"] == 0.0


def draw(generator: random.Random, count: int, *, shares: tuple[float, ...], lengths: tuple[int, int]) -> list[Row]:
    names = [f"label-{n}" for n in range(len(shares))]
    made = []
    for n in range(count):
        text = " ".join(generator.choice(["a", "b", "c", "d"]) for _ in range(generator.randint(*lengths)))
        made.append(Row(str(n), text, {"intent": generator.choices(names, shares)[0]}))
    return made


def test_equal_distributions_do_not_drift_by_chance() -> None:
    """At one case in a thousand, 4 features and 100 draws of few rows, one alarm and more has probability 0.33."""
    generator = random.Random(13)
    alarms = 0
    for _ in range(100):
        known, new = (draw(generator, n, shares=(5, 3, 1, 1), lengths=(3, 20)) for n in (300, 60))
        found = shifts(known, new, tasks=["intent"])
        assert len(found) == 4
        alarms += sum(shift.drifted(0.0) for shift in found)
    assert alarms <= 2


@pytest.mark.parametrize(
    ("shares", "lengths", "feature"),
    [((1, 3, 5, 1), (3, 20), "intent labels"), ((5, 3, 1, 1), (12, 40), "words a text")],
)
def test_another_distribution_drifts(shares: tuple[float, ...], lengths: tuple[int, int], feature: str) -> None:
    generator = random.Random(13)
    known = draw(generator, 300, shares=(5, 3, 1, 1), lengths=(3, 20))
    new = draw(generator, 100, shares=shares, lengths=lengths)
    assert feature in {shift.feature for shift in shifts(known, new, tasks=["intent"]) if shift.drifted(0.2)}


def test_new_words_drift() -> None:
    known = [Row(str(n), f"turn the light in room {n % 5} on", {}) for n in range(100)]
    new = [Row(str(n), f"bitte mach das Licht {n} an", {}) for n in range(40)]
    drifted = [shift.feature for shift in shifts(known, new, tasks=["intent"]) if shift.drifted(0.2)]
    assert "share of words of no other training text" in drifted
    assert "intent labels" not in drifted


def test_slots_count_as_labels_and_texts_without_any_too() -> None:
    def made(slot: str | None) -> list[Row]:
        spans = (Span(0, 1, slot),) if slot else ()
        return [Row(str(n), "nine o'clock", {"slots": spans}) for n in range(50)]

    (first, *_) = shifts(made("time"), made(None), tasks=["slots"])
    assert first.feature == "slots labels"
    assert first.drifted(0.25)
