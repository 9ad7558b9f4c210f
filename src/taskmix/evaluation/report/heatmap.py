"""Where the cells of a large confusion matrix stand: too many labels for numbers, few enough to see where it errs."""

from __future__ import annotations

from dataclasses import dataclass

from taskmix.evaluation.scorecard import Confusion

GRID_LABELS = 24
"""Labels of a matrix that is shown with its numbers; more are drawn."""
CELL = 11.0
CHARACTER = 5.6
"""Width in pixels of a character of a label, at most."""


@dataclass(frozen=True)
class HeatCell:
    """One cell that is not empty."""

    x: float
    y: float
    share: float
    """Of its row, for the shade."""
    right: bool
    count: int
    gold: str
    predicted: str


@dataclass(frozen=True)
class Heatmap:
    """A confusion matrix as a drawing of fixed size in pixels; rows are the right answers."""

    labels: tuple[tuple[str, float], ...]
    """Each label and the middle of its row or column, from the grid's corner."""
    cells: tuple[HeatCell, ...]
    gutter: float
    """Room for the labels, left and above."""
    side: float
    cell: float = CELL


def heatmap(confusion: Confusion) -> Heatmap | None:
    """The drawing; null where the numbers can be shown, or the labels are too many to keep the matrix."""
    if confusion.matrix is None or len(confusion.labels) <= GRID_LABELS:
        return None
    cells = [
        HeatCell(
            x=column * CELL,
            y=row * CELL,
            share=round(count / sum(counts), 3),
            right=row == column,
            count=count,
            gold=confusion.labels[row],
            predicted=confusion.labels[column],
        )
        for row, counts in enumerate(confusion.matrix)
        for column, count in enumerate(counts)
        if count
    ]
    gutter = max(map(len, confusion.labels)) * CHARACTER + 8
    places = tuple((label, round((index + 0.5) * CELL, 2)) for index, label in enumerate(confusion.labels))
    return Heatmap(places, tuple(cells), round(gutter, 1), len(confusion.labels) * CELL)
