"""The history of a storage as one HTML page: the same history gives the same bytes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from taskmix.evaluation.history import History, RunLine
from taskmix.evaluation.report.charts import COLOURS, Frame, Tick, linear_axis, score_ends
from taskmix.evaluation.report.render import environment

FRAME = Frame(left=5.0, right=97.0, top=14.0, height=190.0)
MOST_DRAWN = 60
"""Runs of one chart, the latest; all stand in the table."""


@dataclass(frozen=True)
class RunMark:
    """One run's best system."""

    x: float
    y: float
    high_y: float | None
    low_y: float | None
    line: RunLine


@dataclass(frozen=True)
class Timeline:
    """The best score of one configuration's runs, oldest at the left."""

    title: str
    marks: tuple[RunMark, ...]
    colour: int
    y_ticks: tuple[Tick, ...]
    frame: Frame = FRAME


def render_history(history: History) -> str:
    """The page."""
    return (
        environment(autoescape=True)
        .get_template("history.html.j2")
        .render(history=history, timelines=timelines(history), tasks=tasks_of(history))
    )


def timelines(history: History) -> tuple[Timeline, ...]:
    """A chart for each configuration and score that runs are ranked by, where the score is defined."""
    groups: dict[tuple[str, str], list[RunLine]] = {}
    for line in history.runs:
        if line.ranked.value is not None:
            groups.setdefault((line.name, line.by), []).append(line)
    return tuple(
        _timeline(f"{name}, by {by}", lines[-MOST_DRAWN:], colour=index % COLOURS)
        for index, ((name, by), lines) in enumerate(groups.items())
    )


def tasks_of(history: History) -> tuple[str, ...]:
    """Every task of any run, in the order of their first."""
    return tuple(dict.fromkeys(task for line in history.runs for task in line.tasks))


def _timeline(title: str, lines: list[RunLine], *, colour: int) -> Timeline:
    found = [end for line in lines for end in score_ends(line.ranked)]
    ends, values = linear_axis(min(found), max(found))
    y_of = partial(FRAME.y_of, ends=ends)
    marks = []
    for index, line in enumerate(lines):
        interval = line.ranked.interval
        marks.append(
            RunMark(
                x=FRAME.x_of(index + 0.5, ends=(0, len(lines))),
                y=y_of(line.ranked.value or 0.0),
                high_y=y_of(interval.high) if interval else None,
                low_y=y_of(interval.low) if interval else None,
                line=line,
            )
        )
    return Timeline(title, tuple(marks), colour, tuple(Tick(y_of(value), f"{value * 100:.4g}") for value in values))
