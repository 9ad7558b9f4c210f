"""Where the marks of the report's charts stand. The templates draw them; nothing here knows of SVG's syntax.

Horizontal places are percentages of the drawing's width, so that one drawing fits a desk and a telephone without its
text being scaled; vertical places are pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from taskmix.evaluation.report.model import Report, SystemRow
from taskmix.evaluation.scorecard import Score

SCATTER_TOP, SCATTER_HEIGHT = 16.0, 300.0
SCATTER_LEFT, SCATTER_RIGHT = 6.0, 96.0
"""Percent: room at the left for the axis' numbers."""
LABEL_HEIGHT = 15.0
COLOURS = 8
"""Colours of the style sheet, `--c0` to `--c7`; more models begin again (they are named beside their points anyway)."""


@dataclass(frozen=True)
class Tick:
    """A line of the grid, at a place in percent or pixels."""

    place: float
    text: str


@dataclass(frozen=True)
class IntervalMark:
    """One system in a panel: a dot with its interval."""

    name: str
    colour: int
    at: float | None
    low: float | None
    high: float | None
    score: Score


@dataclass(frozen=True)
class Panel:
    """One score of all systems, on one axis."""

    title: str
    marks: tuple[IntervalMark, ...]
    ticks: tuple[Tick, ...]


@dataclass(frozen=True)
class Point:
    """One system in the scatter."""

    name: str
    colour: int
    best: bool
    x: float
    y: float
    high_y: float | None
    low_y: float | None
    label_y: float
    label_left: bool
    """The label stands left of the point, not right of it."""


@dataclass(frozen=True)
class Scatter:
    """Quality against latency."""

    points: tuple[Point, ...]
    links: tuple[tuple[int, tuple[float, float], tuple[float, float]], ...]
    """Colour and ends of a line between two systems of one model."""
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    height: float


def model_colours(report: Report) -> dict[str, int]:
    """Model to the number of its colour, in the configuration's order."""
    return {model: index % COLOURS for index, model in enumerate(report.config.models)}


def interval_panels(report: Report) -> tuple[Panel, ...]:
    """A panel for the mean (of several tasks), for each task's primary score, and for each frame."""
    panels: list[tuple[str, list[Score | None]]] = []
    if len(report.primary) > 1:
        panels.append(("mean of the tasks", [row.mean for row in report.systems]))
    for task, primary in report.primary.items():
        panels.append((f"{task}: {words(primary)}", [row.tasks[task][primary] for row in report.systems]))
    for dataset in dict.fromkeys(name for row in report.systems for name in row.frames):
        title = f"{dataset}: all tasks of a text right"
        panels.append((title, [row.frames.get(dataset) for row in report.systems]))
    return tuple(_panel(report, title, scores) for title, scores in panels)


def quality_against_latency(report: Report) -> Scatter | None:
    """Every system whose ranked score is defined; null where there is none."""
    rows = [row for row in report.systems if row.ranked.value is not None]
    if not rows:
        return None
    times = [max(row.speed.p50_ms, 1e-3) for row in rows]
    x_ends, x_values = _log_axis(min(times), max(times))
    ends = [end for row in rows for end in _ends(row.ranked)]
    y_ends, y_values = _linear_axis(min(ends), max(ends))

    def x_of(milliseconds: float) -> float:
        share = (math.log(max(milliseconds, 1e-3)) - x_ends[0]) / (x_ends[1] - x_ends[0])
        return round(SCATTER_LEFT + share * (SCATTER_RIGHT - SCATTER_LEFT), 3)

    def y_of(score: float) -> float:
        share = (score - y_ends[0]) / (y_ends[1] - y_ends[0])
        return round(SCATTER_TOP + (1 - share) * SCATTER_HEIGHT, 2)

    places = [(x_of(row.speed.p50_ms), y_of(row.ranked.value or 0.0)) for row in rows]
    label_places = spread([y for _, y in places], gap=LABEL_HEIGHT, low=SCATTER_TOP, high=SCATTER_TOP + SCATTER_HEIGHT)
    colours = model_colours(report)
    points = []
    for row, (x, y), label_y in zip(rows, places, label_places, strict=True):
        found = row.ranked.interval
        points.append(
            Point(
                name=row.name,
                colour=colours[row.model],
                best=row.rank == 1,
                x=x,
                y=y,
                high_y=y_of(found.high) if found else None,
                low_y=y_of(found.low) if found else None,
                label_y=label_y,
                label_left=x > (SCATTER_LEFT + SCATTER_RIGHT) / 2,
            )
        )
    return Scatter(
        points=tuple(points),
        links=_links(rows, places, colours),
        x_ticks=tuple(Tick(x_of(value), _milliseconds(value)) for value in x_values),
        y_ticks=tuple(Tick(y_of(value), f"{value * 100:.4g}") for value in y_values),
        height=SCATTER_TOP + SCATTER_HEIGHT,
    )


def spread(places: Sequence[float], *, gap: float, low: float, high: float) -> list[float]:
    """Places moved apart until neighbours are `gap` from each other, as near to where they were as that allows."""
    order = sorted(range(len(places)), key=lambda index: places[index])
    moved = [places[index] for index in order]
    for index in range(1, len(moved)):
        moved[index] = max(moved[index], moved[index - 1] + gap)
    if moved and moved[-1] > high:
        moved[-1] = high
        for index in range(len(moved) - 2, -1, -1):
            moved[index] = min(moved[index], moved[index + 1] - gap)
    result = [0.0] * len(places)
    for place, index in zip(moved, order, strict=True):
        result[index] = round(place, 2)
    return result


def words(name: str) -> str:
    """A score's name for people: `span_f1` is `span F1`."""
    special = {"span_f1": "span F1", "macro_f1": "macro F1", "ece": "ECE", "frame_exact_match": "frame exact match"}
    return special.get(name, name.replace("_", " "))


def _panel(report: Report, title: str, scores: Sequence[Score | None]) -> Panel:
    ends = [end for score in scores if score is not None for end in _ends(score)]
    axis, values = _linear_axis(min(ends), max(ends)) if ends else ((0.0, 1.0), [0.0, 1.0])

    def x_of(value: float) -> float:
        return round(3 + 94 * (value - axis[0]) / (axis[1] - axis[0]), 3)

    colours = model_colours(report)
    marks = []
    for row, score in zip(report.systems, scores, strict=True):
        if score is None:
            continue
        found = score.interval
        marks.append(
            IntervalMark(
                name=row.name,
                colour=colours[row.model],
                at=None if score.value is None else x_of(score.value),
                low=x_of(found.low) if found else None,
                high=x_of(found.high) if found else None,
                score=score,
            )
        )
    return Panel(title, tuple(marks), tuple(Tick(x_of(value), f"{value * 100:.4g}") for value in values))


def _ends(score: Score) -> list[float]:
    if score.value is None:
        return []
    return [score.value, score.interval.low, score.interval.high] if score.interval else [score.value]


def _linear_axis(low: float, high: float) -> tuple[tuple[float, float], list[float]]:
    """Ends of an axis around two values, and about four round values on it."""
    width = max(high - low, 0.01)
    step = _round_step(width / 3)
    first, last = math.floor(low / step), math.ceil(high / step)
    if first == last:
        last += 1
    values = [round(number * step, 10) for number in range(first, last + 1)]
    return (values[0], values[-1]), values


def _log_axis(low: float, high: float) -> tuple[tuple[float, float], list[float]]:
    """Ends (as logarithms) of an axis in milliseconds, and the values 1, 2, 5 times powers of ten on it."""
    marks = [factor * 10.0**power for power in range(-4, 8) for factor in (1, 2, 5)]
    first = max(index for index, mark in enumerate(marks) if mark <= low)
    last = min(index for index, mark in enumerate(marks) if mark >= high)
    if last - first < 2:
        first, last = first - (first > 0), last + 1
    chosen = marks[first : last + 1]
    while len(chosen) > 6:
        chosen = (
            [mark for mark in chosen if round(math.log10(mark), 6).is_integer()] if len(chosen) > 9 else chosen[::2]
        )
    return (math.log(marks[first]), math.log(marks[last])), chosen


def _round_step(about: float) -> float:
    power = 10.0 ** math.floor(math.log10(about))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= about * 0.999)


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
