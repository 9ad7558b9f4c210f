"""Where the marks of the scatter stand: each system's quality against its latency, each point with a readable label."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from taskmix.evaluation.report.charts import Tick, linear_axis, log_axis, model_colours, score_ends
from taskmix.evaluation.report.model import Report, SystemRow

TOP, HEIGHT = 26.0, 300.0
LEFT, RIGHT = 8.0, 96.0
"""Percent: room at the left for the axis' numbers."""
NARROW = 368.0
"""Width in pixels of the narrowest screen that labels must not collide on: 400 less the page's margins."""
CHARACTER, LINE = 7.2, 13.0
"""Width and height in pixels that a label's character takes; a little more than the font's."""
OFFSET = 9.0
"""From a point's middle to its label."""

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels, on the narrowest screen."""


@dataclass(frozen=True)
class Label:
    """A text beside its point."""

    text: str
    dx: float
    dy: float
    anchor: str
    """SVG's text-anchor."""


@dataclass(frozen=True)
class Point:
    """One system."""

    row: SystemRow
    colour: int
    x: float
    y: float
    high_y: float | None
    low_y: float | None
    label: Label


@dataclass(frozen=True)
class Scatter:
    """Quality against latency."""

    points: tuple[Point, ...]
    numbered: bool
    """The labels are ranks, since names would collide; a list beside the chart names them."""
    links: tuple[tuple[int, tuple[float, float], tuple[float, float]], ...]
    """Colour and ends of a line between two systems of one model."""
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    left: float
    right: float
    top: float
    bottom: float


def quality_against_latency(report: Report) -> Scatter | None:
    """Every system whose ranked score is defined; null where there is none."""
    rows = [row for row in report.systems if row.ranked.value is not None]
    if not rows:
        return None
    times = [_time(row) for row in rows]
    x_ends, x_values = log_axis(min(times), max(times))
    ends = [end for row in rows for end in score_ends(row.ranked)]
    y_ends, y_values = linear_axis(min(ends), max(ends))

    def x_of(milliseconds: float) -> float:
        share = (math.log(milliseconds) - x_ends[0]) / (x_ends[1] - x_ends[0])
        return round(LEFT + share * (RIGHT - LEFT), 3)

    def y_of(score: float) -> float:
        return round(TOP + (1 - (score - y_ends[0]) / (y_ends[1] - y_ends[0])) * HEIGHT, 2)

    places = [(x_of(_time(row)), y_of(row.ranked.value or 0.0)) for row in rows]
    labels, numbered = _labels(rows, places)
    colours = model_colours(report)
    points = []
    for row, (x, y), label in zip(rows, places, labels, strict=True):
        found = row.ranked.interval
        high, low = (y_of(found.high), y_of(found.low)) if found else (None, None)
        points.append(Point(row, colours[row.model], x, y, high, low, label))
    return Scatter(
        points=tuple(points),
        numbered=numbered,
        links=_links(rows, places, colours),
        x_ticks=tuple(Tick(x_of(value), _milliseconds(value)) for value in x_values),
        y_ticks=tuple(Tick(y_of(value), f"{value * 100:.4g}") for value in y_values),
        left=LEFT,
        right=RIGHT,
        top=TOP,
        bottom=TOP + HEIGHT,
    )


def _time(row: SystemRow) -> float:
    return max(row.speed.p50_ms, 1e-3)


def _labels(rows: Sequence[SystemRow], places: Sequence[tuple[float, float]]) -> tuple[list[Label], bool]:
    """Names where all find room, else ranks."""
    names = place_labels([row.name for row in rows], places)
    if names is not None:
        return names, False
    ranks = [str(row.rank) for row in rows]
    return place_labels(ranks, places) or [Label(rank, OFFSET, 4.0, "start") for rank in ranks], True


def place_labels(texts: Sequence[str], places: Sequence[tuple[float, float]]) -> list[Label] | None:
    """A label beside each point that covers no point and no other label; null where that cannot be had.

    Tries for each point in turn: right, left, above, below, and above or below further off.

    Args:
        texts: one a point.
        places: (percent, pixels) of each point.
    """
    taken: list[Box] = [(x * NARROW / 100 - 5, y - 5, x * NARROW / 100 + 5, y + 5) for x, y in places]
    labels = []
    for text, (x, y) in zip(texts, places, strict=True):
        for dx, dy, anchor in _candidates():
            box = _box(text, x * NARROW / 100 + dx, y + dy, anchor)
            inside = box[0] >= 0 and box[1] >= 0 and box[2] <= NARROW
            if inside and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                labels.append(Label(text, dx, dy, anchor))
                break
        else:
            return None
    return labels


def _candidates() -> list[tuple[float, float, str]]:
    beside = [(OFFSET, 4.0, "start"), (-OFFSET, 4.0, "end")]
    level = [(0.0, sign * step + 4.0, "middle") for step in (15.0, 28.0, 41.0) for sign in (-1, 1)]
    slanted = [(dx, dy, anchor) for dy in (-8.0, 16.0) for dx, anchor in ((7.0, "start"), (-7.0, "end"))]
    return [*beside, *slanted, *level]


def _box(text: str, x: float, y: float, anchor: str) -> Box:
    width = len(text) * CHARACTER
    left = {"start": x, "middle": x - width / 2, "end": x - width}[anchor]
    return left, y - LINE + 2, left + width, y + 2


def _overlap(first: Box, second: Box) -> bool:
    return first[0] < second[2] and second[0] < first[2] and first[1] < second[3] and second[1] < first[3]


def _milliseconds(value: float) -> str:
    return f"{value:g} ms" if value < 1000 else f"{value / 1000:g} s"


def _links(
    rows: Sequence[SystemRow], places: Sequence[tuple[float, float]], colours: dict[str, int]
) -> tuple[tuple[int, tuple[float, float], tuple[float, float]], ...]:
    links = []
    for model, colour in colours.items():
        own = sorted(place for row, place in zip(rows, places, strict=True) if row.model == model)
        links += [(colour, first, second) for first, second in pairwise(own)]
    return tuple(links)
