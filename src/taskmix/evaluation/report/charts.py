"""Where the marks of the interval panels stand, and what all charts share: axes, colours, names.

The templates draw; nothing here knows of SVG's syntax. Horizontal places are percentages of the drawing's width, so
that one drawing fits a desk and a telephone without its text being scaled; vertical places are pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from taskmix.evaluation.report.model import Report
from taskmix.evaluation.scorecard import Score

Ends = tuple[float, float]
"""The least and the largest value of an axis."""
COLOURS = 8
"""Colours of the style sheet, `--c0` to `--c7`; more models begin again (they are named beside their marks anyway)."""


@dataclass(frozen=True)
class Tick:
    """A line of the grid, at a place in percent or pixels."""

    place: float
    text: str


@dataclass(frozen=True)
class Frame:
    """Where a chart's marks may stand.

    Attributes:
        left: percent of the drawing's width, with room beside it for the axis' numbers.
        right: percent.
        top: pixels.
        height: pixels.
    """

    left: float
    right: float
    top: float
    height: float

    @property
    def bottom(self) -> float:
        """Pixels."""
        return self.top + self.height

    def x_of(self, value: float, *, ends: Ends = (0.0, 1.0)) -> float:
        """The place in percent of a value on a horizontal axis."""
        return round(self.left + (value - ends[0]) / (ends[1] - ends[0]) * (self.right - self.left), 3)

    def y_of(self, value: float, *, ends: Ends = (0.0, 1.0)) -> float:
        """The place in pixels of a value on a vertical axis."""
        return round(self.top + (1 - (value - ends[0]) / (ends[1] - ends[0])) * self.height, 2)


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


PANEL = Frame(left=3.0, right=97.0, top=0.0, height=1.0)
"""Of the interval panels, whose rows are laid out by the page."""


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


def words(name: str) -> str:
    """A score's name for people: `span_f1` is `span F1`."""
    special = {"span_f1": "span F1", "macro_f1": "macro F1", "ece": "ECE", "frame_exact_match": "frame exact match"}
    return special.get(name, name.replace("_", " "))


def linear_axis(low: float, high: float) -> tuple[Ends, list[float]]:
    """Ends of an axis around two values, and about four round values on it."""
    width = max(high - low, 0.01)
    step = _round_step(width / 3)
    first, last = math.floor(low / step), math.ceil(high / step)
    if first == last:
        last += 1
    values = [round(number * step, 10) for number in range(first, last + 1)]
    return (values[0], values[-1]), values


def log_axis(low: float, high: float) -> tuple[Ends, list[float]]:
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


def _panel(report: Report, title: str, scores: Sequence[Score | None]) -> Panel:
    ends = [end for score in scores if score is not None for end in score_ends(score)]
    axis, values = linear_axis(min(ends), max(ends)) if ends else ((0.0, 1.0), [0.0, 1.0])
    x_of = partial(PANEL.x_of, ends=axis)

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


def score_ends(score: Score) -> list[float]:
    """The values that an axis must reach to show a score with its interval."""
    if score.value is None:
        return []
    return [score.value, score.interval.low, score.interval.high] if score.interval else [score.value]


def _round_step(about: float) -> float:
    power = 10.0 ** math.floor(math.log10(about))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= about * 0.999)
