"""Where the marks of learning curves stand: each job's dev score after each epoch, a panel for each task."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import pairwise

from taskmix.evaluation.report.charts import Frame, Tick, linear_axis, model_colours
from taskmix.evaluation.report.model import JobRow, Report

FRAME = Frame(left=10.0, right=97.0, top=12.0, height=150.0)
DASHES = ("none", "6 3", "2 3", "8 3 2 3")
"""Of the lines of one model's jobs, in turn: colour tells the model."""


@dataclass(frozen=True)
class CurvePoint:
    """One epoch of one job."""

    x: float
    y: float
    epoch: float
    score: float


@dataclass(frozen=True)
class Curve:
    """One job's line; its points are joined."""

    job: str
    colour: int
    dash: str
    points: tuple[CurvePoint, ...]

    @property
    def steps(self) -> tuple[tuple[CurvePoint, CurvePoint], ...]:
        """Each point with the next."""
        return tuple(pairwise(self.points))


@dataclass(frozen=True)
class CurvePanel:
    """One task."""

    task: str
    curves: tuple[Curve, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    frame: Frame = FRAME


def learning_curves(report: Report) -> tuple[CurvePanel, ...]:
    """A panel for each task that some job learned in several epochs; values of a searched setting are no epochs."""
    panels = []
    for task in report.primary:
        jobs = [job for job in report.jobs if len(_epochs(job, task)) > 1]
        if jobs:
            panels.append(_panel(report, task, jobs))
    return tuple(panels)


def _epochs(job: JobRow, task: str) -> list[tuple[float, float]]:
    """(epoch, dev score) of each epoch."""
    found = [(one.epoch, one.dev_scores[task]) for one in job.history if one.setting is None and task in one.dev_scores]
    return sorted(found)


def _panel(report: Report, task: str, jobs: list[JobRow]) -> CurvePanel:
    found = {job.name: _epochs(job, task) for job in jobs}
    scores = [score for points in found.values() for _, score in points]
    ends, values = linear_axis(min(scores), max(scores))
    last = max(epoch for points in found.values() for epoch, _ in points)
    first = min(epoch for points in found.values() for epoch, _ in points)
    x_of, y_of = partial(FRAME.x_of, ends=(first, max(last, first + 1e-9))), partial(FRAME.y_of, ends=ends)
    colours, seen, curves = model_colours(report), dict.fromkeys(report.config.models, 0), []
    for job in jobs:
        points = tuple(CurvePoint(x_of(epoch), y_of(score), epoch, score) for epoch, score in found[job.name])
        curves.append(Curve(job.name, colours[job.model], DASHES[seen[job.model] % len(DASHES)], points))
        seen[job.model] += 1
    step = max(1, round((last - first) / 6))
    epochs = [number for number in range(int(first), int(last) + 1, step) if first <= number <= last]
    return CurvePanel(
        task=task,
        curves=tuple(curves),
        x_ticks=tuple(Tick(x_of(number), f"{number}") for number in epochs),
        y_ticks=tuple(Tick(y_of(value), f"{value * 100:.4g}") for value in values),
    )
