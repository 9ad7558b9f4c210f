"""Where the marks of a reliability diagram stand: how often answers are right, against how sure the model was of them.

Drawn of the bins that the scorecard stores. Horizontal places are percentages, vertical ones pixels, as in `charts`.
"""

from __future__ import annotations

from dataclasses import dataclass

from taskmix.evaluation.report.charts import Tick
from taskmix.evaluation.scorecard import ReliabilityBin, TaskScorecard

LEFT, RIGHT = 12.0, 97.0
TOP, HEIGHT = 20.0, 190.0
SMALLEST, LARGEST = 2.5, 8.0
"""Radius in pixels of a bin of few answers and of one that holds all; the area grows with the count."""


@dataclass(frozen=True)
class BinMark:
    """One bin: a dot at its mean probability and its share of right answers."""

    x: float
    y: float
    even_y: float
    """Where the dot would stand if the probabilities were right."""
    radius: float
    bin: ReliabilityBin


@dataclass(frozen=True)
class ReliabilityDiagram:
    """The dots of one task of one job, and the axes."""

    marks: tuple[BinMark, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    left: float
    right: float
    top: float
    bottom: float


def reliability_diagram(card: TaskScorecard) -> ReliabilityDiagram | None:
    """The diagram of a task; null where no answer was given."""
    if not card.reliability:
        return None
    total = sum(found.count for found in card.reliability)
    marks = tuple(
        BinMark(
            x=_x(found.confidence),
            y=_y(found.accuracy),
            even_y=_y(found.confidence),
            radius=round(max(SMALLEST, LARGEST * (found.count / total) ** 0.5), 2),
            bin=found,
        )
        for found in card.reliability
    )
    values = (0.0, 0.25, 0.5, 0.75, 1.0)
    return ReliabilityDiagram(
        marks=marks,
        x_ticks=tuple(Tick(_x(value), f"{value * 100:g}") for value in values),
        y_ticks=tuple(Tick(_y(value), f"{value * 100:g}") for value in values),
        left=LEFT,
        right=RIGHT,
        top=TOP,
        bottom=TOP + HEIGHT,
    )


def _x(share: float) -> float:
    return round(LEFT + share * (RIGHT - LEFT), 3)


def _y(share: float) -> float:
    return round(TOP + (1 - share) * HEIGHT, 2)
