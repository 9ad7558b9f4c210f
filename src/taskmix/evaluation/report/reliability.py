"""Where the marks of a reliability diagram stand: how often answers are right, against how sure the model was of them.

Drawn of the bins that the scorecard stores. Horizontal places are percentages, vertical ones pixels, as in `charts`.
"""

from __future__ import annotations

from dataclasses import dataclass

from taskmix.evaluation.report.charts import Frame, Tick
from taskmix.evaluation.scorecard import ReliabilityBin, TaskScorecard

FRAME = Frame(left=12.0, right=97.0, top=20.0, height=190.0)
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
    frame: Frame = FRAME


def reliability_diagram(card: TaskScorecard) -> ReliabilityDiagram | None:
    """The diagram of a task; null where no answer was given."""
    if not card.reliability:
        return None
    total = sum(found.count for found in card.reliability)
    marks = tuple(
        BinMark(
            x=FRAME.x_of(found.confidence),
            y=FRAME.y_of(found.accuracy),
            even_y=FRAME.y_of(found.confidence),
            radius=round(max(SMALLEST, LARGEST * (found.count / total) ** 0.5), 2),
            bin=found,
        )
        for found in card.reliability
    )
    values = (0.0, 0.25, 0.5, 0.75, 1.0)
    return ReliabilityDiagram(
        marks=marks,
        x_ticks=tuple(Tick(FRAME.x_of(value), f"{value * 100:g}") for value in values),
        y_ticks=tuple(Tick(FRAME.y_of(value), f"{value * 100:g}") for value in values),
    )
