"""The end of a local run: what was done and reused, the leaderboard, the report, the verdict, how to call the model."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from taskmix import storage
from taskmix.config.schema import Config
from taskmix_components.events import StepEvent
from taskmix_pipelines.local import LocalRun

if TYPE_CHECKING:
    from rich.table import Table

    from taskmix.evaluation.report.model import Report
    from taskmix.evaluation.scorecard import Score

_WIDTH_OF_A_PIPE = 160
"""Columns where the output is no terminal; arbitrary, wide enough for a few tasks."""
_DONE = {
    "ingest": ("dataset", "ingested"),
    "finetune": ("job", "trained"),
    "evaluate": ("job", "evaluated"),
}
"""Step to what it is done to, and the word for it."""


def tell_ending(config: Config, run: LocalRun, *, tell: Callable[[str], None] = print) -> None:
    """Tell people how a run came out and what to do next.

    Args:
        config: what was run.
        run: the run, which ended well.
        tell: gets each line but for the leaderboard, which goes to standard output.
    """
    from rich.console import Console

    from taskmix.evaluation.report.model import read_report

    report_uri = storage.join(run.uri, "report")
    report = read_report(report_uri)
    for line in ["", *what_was_done(run.steps), ""]:
        tell(line)
    Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH_OF_A_PIPE).print(leaderboard(report))
    tell(f"report: {storage.join(report_uri, 'report.html')}")
    for line in [*verdict(run), "", *how_to_call(config, run, report), f"full log: {run.log}"]:
        tell(line)


def what_was_done(steps: Sequence[StepEvent]) -> list[str]:
    """One line for each kind of step that can be reused, and one where nothing was trained."""
    lines = []
    for step, (noun, done) in _DONE.items():
        events = [event for event in steps if event.title.split()[0] == step]
        reused = sum(event.reused for event in events)
        lines.append(f"{noun}s {done}: {len(events) - reused}, reused: {reused}")
        if step == "finetune" and reused == len(events):
            lines[-1] += " (nothing was trained: every job was found finished on storage)"
    return lines


def leaderboard(report: Report) -> Table:
    """The report's systems, best first, with the score of each task and the interval of the score ranked by."""
    from rich import box
    from rich.table import Table

    by = report.config.gate.rank_by
    table = Table(title=f"Leaderboard, by {by}", title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    tasks = list(report.primary)
    for column in ["", "system", by, *(f"{task} ({report.primary[task]})" for task in tasks if task != by)]:
        table.add_column(column)
    for column in ["p50 ms", "texts/s", "training s", "MB"]:
        table.add_column(column, justify="right")
    for row in report.systems:
        scores = [_percent(row.tasks[task][report.primary[task]]) for task in tasks if task != by]
        speed = [f"{row.speed.p50_ms:.1f}", f"{row.speed.texts_per_s:,.0f}"]
        cost = [f"{row.training_seconds:.1f}", f"{row.bytes / 1e6:.1f}"]
        table.add_row(str(row.rank), row.name, _with_interval(row.ranked), *scores, *speed, *cost)
    return table


def verdict(run: LocalRun) -> list[str]:
    """The gate's verdict with its reasons."""
    decided: dict[str, Any] = storage.read_json(storage.join(run.uri, "gate.json"))
    word = "accepted" if decided["accepted"] else "is served already" if decided["nothing_new"] else "refused"
    return [f"gate: {decided['system']} {word}", *(f"  {reason}" for reason in decided["reasons"])]


def how_to_call(config: Config, run: LocalRun, report: Report) -> list[str]:
    """Commands that serve the champion; where there is none, the best system all the same."""
    name = config.deployment.name
    champion = storage.join(config.storage, "deployments", name, "champion.json")
    if storage.exists(champion):
        intro, served = f"to call the champion, {storage.read_json(champion)['system']}:", champion
    else:
        intro, served = "nothing is deployed; to call the best system all the same:", report.best.record
    body = '{"instances": [{"text": "..."}]}'
    return [
        intro,
        f"  taskmix serve {served} --name {name}",
        f"  curl localhost:8080/v1/models/{name}:predict -H 'Content-Type: application/json' -d '{body}'",
    ]


def _percent(score: Score) -> str:
    return "undefined" if score.value is None else f"{100 * score.value:.1f}"


def _with_interval(score: Score) -> str:
    if score.interval is None:
        return _percent(score)
    return f"{_percent(score)} [{100 * score.interval.low:.1f}, {100 * score.interval.high:.1f}]"
