"""Where the marks of a scatter stand: each system's quality against latency or price, each with a readable label."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Literal

from taskmix.evaluation.report.charts import Frame, Tick, linear_axis, log_axis, model_colours, score_ends
from taskmix.evaluation.report.figures import milliseconds, usd
from taskmix.evaluation.report.model import Report, SystemRow

FRAME = Frame(left=8.0, right=96.0, top=26.0, height=300.0)
NARROW = 368.0
"""Width in pixels of the narrowest screen that labels must not collide on: 400 less the page's margins."""
CHARACTER, LINE = 7.2, 13.0
"""Width and height in pixels that a label's character takes; a little more than the font's."""
OFFSET = 9.0
"""From a point's middle to its label."""

Cost = Literal["p50_ms", "usd_per_million_texts"]
AXES: dict[Cost, str] = {
    "p50_ms": "median latency of one text, logarithmic →",
    "usd_per_million_texts": "price of a million texts, logarithmic →",
}
Line = tuple[tuple[float, float], tuple[float, float]]
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
    cost: str
    """For people."""


@dataclass(frozen=True)
class Scatter:
    """Quality against cost."""

    axis: str
    """What the horizontal axis shows."""
    points: tuple[Point, ...]
    numbered: bool
    """The labels are ranks, since names would collide; a list beside the chart names them."""
    links: tuple[tuple[int, tuple[float, float], tuple[float, float]], ...]
    """Colour and ends of a line between two systems of one model."""
    frontier: tuple[Line, ...]
    """Lines along the systems that no other beats at their cost; none where the report weighs another cost."""
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    frame: Frame = FRAME


def quality_against(report: Report, cost: Cost) -> Scatter | None:
    """Every system whose ranked score and cost are defined; null where there is none."""
    costs = {row.name: _cost(row, cost) for row in report.systems}
    known = {name: value for name, value in costs.items() if value is not None}
    rows = [row for row in report.systems if row.ranked.value is not None and row.name in known]
    if not rows:
        return None
    x_ends, x_values = log_axis(min(known[row.name] for row in rows), max(known[row.name] for row in rows))
    ends = [end for row in rows for end in score_ends(row.ranked)]
    y_ends, y_values = linear_axis(min(ends), max(ends))
    y_of = partial(FRAME.y_of, ends=y_ends)

    def x_of(value: float) -> float:
        return FRAME.x_of(math.log(value), ends=x_ends)

    places = [(x_of(known[row.name]), y_of(row.ranked.value or 0.0)) for row in rows]
    labels, numbered = _labels(rows, places)
    colours = model_colours(report)
    points = []
    for row, (x, y), label in zip(rows, places, labels, strict=True):
        found = row.ranked.interval
        high, low = (y_of(found.high), y_of(found.low)) if found else (None, None)
        points.append(Point(row, colours[row.model], x, y, high, low, label, _told(known[row.name], cost)))
    return Scatter(
        axis=AXES[cost],
        points=tuple(points),
        numbered=numbered,
        links=_links(rows, places, colours),
        frontier=_frontier(report, {row.name: place for row, place in zip(rows, places, strict=True)}, cost),
        x_ticks=tuple(Tick(x_of(value), _tick(value, cost)) for value in x_values),
        y_ticks=tuple(Tick(y_of(value), f"{value * 100:.4g}") for value in y_values),
    )


def _cost(row: SystemRow, cost: Cost) -> float | None:
    found = row.speed.p50_ms if cost == "p50_ms" else row.usd_per_million_texts
    return None if found is None else max(found, 1e-3)


def _told(value: float, cost: Cost) -> str:
    return milliseconds(value) if cost == "p50_ms" else f"{usd(value)} a million texts"


def _frontier(report: Report, places: dict[str, tuple[float, float]], cost: Cost) -> tuple[Line, ...]:
    if report.economy is None or report.economy.cost != cost:
        return ()
    return tuple(pairwise(places[name] for name in report.economy.frontier if name in places))


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


def _tick(value: float, cost: Cost) -> str:
    if cost == "usd_per_million_texts":
        return f"${value:g}"
    return f"{value:g} ms" if value < 1000 else f"{value / 1000:g} s"


def _links(
    rows: Sequence[SystemRow], places: Sequence[tuple[float, float]], colours: dict[str, int]
) -> tuple[tuple[int, tuple[float, float], tuple[float, float]], ...]:
    links = []
    for model, colour in colours.items():
        own = sorted(place for row, place in zip(rows, places, strict=True) if row.model == model)
        links += [(colour, first, second) for first, second in pairwise(own)]
    return tuple(links)
