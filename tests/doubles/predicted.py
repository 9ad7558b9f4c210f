"""Predictions made by hand, for tests of scores."""

from __future__ import annotations

import numpy as np

from taskmix.data.dataset import Row
from taskmix.data.schema import LabelSpace, Span
from taskmix.evaluation.predictions import ClassificationPredictions, Examples, SlotPredictions
from taskmix.modeling.answers import ClassificationAnswer, TaskHead

LABELS = ("a", "b", "c", "d", "never")


def classification(
    gold: list[str], predicted: list[str], *, probability: list[float] | None = None, rows: list[int] | None = None
) -> ClassificationPredictions:
    size = len(gold)
    where = np.array(rows if rows is not None else range(size), dtype=np.int64)
    names = tuple(map(str, where))
    return ClassificationPredictions(
        Examples("intent", LABELS, where, names, names),
        tuple(gold),
        tuple(predicted),
        np.array(probability if probability is not None else [0.5] * size),
        np.full((size, len(LABELS)), 0.2, dtype=np.float32),
    )


def slots(gold: list[list[Span]], predicted: list[list[Span]], *, rows: list[int] | None = None) -> SlotPredictions:
    where = np.array(rows if rows is not None else range(len(gold)), dtype=np.int64)
    names = tuple(map(str, where))
    return SlotPredictions(
        Examples("slots", ("x", "y"), where, names, names),
        tuple(map(tuple, gold)),
        tuple(map(tuple, predicted)),
        tuple(tuple(0.75 for _ in spans) for spans in predicted),
    )


def random_spans(generator: np.random.Generator, *, words: int) -> list[Span]:
    spans, at = [], 0
    while at < words:
        length = int(generator.integers(1, 4))
        if generator.random() < 0.5 and at + length <= words:
            spans.append(Span(at, at + length, str(generator.choice(["x", "y"]))))
        at += length
    return spans


INTENT = TaskHead("intent", "classification", LabelSpace(("on", "off")))
SLOTS = TaskHead("slots", "slot_filling", LabelSpace(("room",)))
ROWS = [
    Row("1", "light on", {"intent": "on", "slots": ()}),
    Row("2", "kitchen light off", {"intent": "off", "slots": (Span(0, 1, "room"),)}),
    Row("3", "what", {"slots": ()}),
    Row("4", "dim it", {"intent": "dim"}),
]


def given(label: str) -> ClassificationAnswer:
    return ClassificationAnswer(label, 0.75, np.array([0.75, 0.25], dtype=np.float32))
