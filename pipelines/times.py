"""A schedule for people: its cron in words, and the next times at which it fires."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from rich.table import Table

    from taskmix.config.schema import Schedule

CONTROLLER = "ml-pipeline-scheduledworkflow"
"""The deployment that fires schedules, in the namespace of Kubeflow Pipelines."""


def in_words(cron: str) -> str:
    """What six fields mean: `0 0 2 * * 1` is "At 02:00, only on Monday"."""
    from cron_descriptor import Options, get_description

    options = Options()
    options.use_24hour_time_format = True
    options.locale_code = "en_US"
    return str(get_description(cron.replace("?", "*"), options))


def next_times(cron: str, *, after: datetime, timezone: str, count: int = 3) -> list[datetime]:
    """The next times at which KFP's scheduler fires, in the zone that it counts in.

    Args:
        cron: six fields, seconds first.
        after: with its zone.
        timezone: the scheduler's.
        count: how many.
    """
    from croniter import croniter

    # `implement_cron_bug`: robfig/cron 1.2 asks for day of month and of week both where one begins with a star.
    fires = croniter(
        cron.replace("?", "*"), after.astimezone(ZoneInfo(timezone)), second_at_beginning=True, implement_cron_bug=True
    )
    return [fires.get_next(datetime) for _ in range(count)]


def told(schedule: Schedule, *, now: datetime) -> list[str]:
    """A schedule in three sentences: when, the next times, and whose clock counts."""
    at_once = "one run" if schedule.max_concurrency == 1 else f"{schedule.max_concurrency} runs"
    missed = "missed times are made up for one by one" if schedule.catch_up else "of missed times only the latest runs"
    times = next_times(schedule.cron, after=now, timezone=schedule.timezone)
    zone = (
        f"this counts in {schedule.timezone}, which the API can neither tell nor set: the cluster's scheduler does so "
        f"if CRON_SCHEDULE_TIMEZONE of its deployment {CONTROLLER} says so; as Kubeflow ships it, that is UTC"
    )
    return [
        f"{in_words(schedule.cron)}; {at_once} at a time, {missed}",
        f"next: {', '.join(f'{time:%a %Y-%m-%d %H:%M:%S %Z}' for time in times)}",
        zone,
    ]


def schedules_table(runs: Sequence[Any]) -> Table:
    """Recurring runs with their state and times."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for column in ("schedule", "state", "cron", "in words", "at once", "id"):
        table.add_column(column, overflow="fold")
    for run in runs:
        cron = run.trigger.cron_schedule.cron if run.trigger and run.trigger.cron_schedule else ""
        table.add_row(
            escape(run.display_name),
            (run.status or "").lower(),
            cron or "every so many seconds",
            _words_of_any(cron),
            str(run.max_concurrency),
            run.recurring_run_id,
        )
    return table


def _words_of_any(cron: str) -> str:
    """Words for a cron that others may have written; nothing where it is none of six fields."""
    from taskmix.config.cron import cron_problem

    return "" if cron_problem(cron) else in_words(cron)
