"""Follow a run on the cluster until it ends: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from taskmix.errors import PipelineServiceError
from taskmix_pipelines.steps import ENDED, Progress, Step, progress_of
from taskmix_pipelines.submit import calls

if TYPE_CHECKING:
    from kfp import Client
    from rich.table import Table

POLL_S = 5.0
"""Between two looks; KFP itself reports a run's steps every ten seconds or so."""
ANSWER_S = 30
"""Seconds that one answer may take; arbitrary. A whole number: the client ignores any other."""
PATIENCE_S = 300.0
"""How long the server may be away before following ends; arbitrary, longer than an API server's restart."""
_WORDS = {
    "": "waits",
    "PENDING": "starts",
    "RUNNING": "runs",
    "SUCCEEDED": "done",
    "FAILED": "FAILED",
    "SKIPPED": "skipped",
    "CANCELING": "stops",
    "CANCELED": "canceled",
    "PAUSED": "paused",
}
_STYLES = {
    "RUNNING": "cyan",
    "SUCCEEDED": "green",
    "FAILED": "bold red",
    "CANCELED": "red",
    "": "dim",
    "SKIPPED": "dim",
}


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        state: SUCCEEDED, FAILED, CANCELED or SKIPPED.
        steps: its steps.
        error: KFP's own message, mostly empty.
    """

    state: str
    steps: tuple[Progress, ...]
    error: str = ""

    @property
    def failed_steps(self) -> list[Progress]:
        """The steps to look at."""
        return [progress for progress in self.steps if progress.state == "FAILED"]


def follow(
    run: str,
    *,
    client: Client,
    steps: Sequence[Step],
    tell: Callable[[str], None],
    poll_s: float = POLL_S,
    live: bool | None = None,
) -> Outcome:
    """Wait for a run's end, showing its steps.

    Args:
        run: its id.
        client: kfp's client.
        steps: the run's steps.
        tell: gets each line where there is no live table.
        poll_s: seconds between two looks.
        live: show a table that changes in place; null does on a terminal.

    Raises:
        PipelineServiceError: the server refuses, or stayed away for `PATIENCE_S`; the run itself goes on.
    """
    on_terminal = sys.stdout.isatty() if live is None else live
    with _live_table(steps) if on_terminal else nullcontext(_Lines(tell).show) as show:
        while True:
            told = _patient_get(client, run, poll_s=poll_s)
            progress = progress_of(told, steps, now=datetime.now(UTC))
            show(progress)
            if told.state in ENDED:
                return Outcome(told.state, tuple(progress), str(told.error.message or "") if told.error else "")
            time.sleep(poll_s)


@contextmanager
def _live_table(steps: Sequence[Step]) -> Iterator[Callable[[Sequence[Progress]], None]]:
    """Show a table in place; gives what changes it."""
    from rich.live import Live

    with Live(steps_table([Progress(step) for step in steps]), refresh_per_second=2) as table:
        yield lambda progress: table.update(steps_table(progress))


def steps_table(progress: Sequence[Progress]) -> Table:
    """The steps with their states and times."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("step", overflow="fold")
    table.add_column("state")
    table.add_column("time", justify="right")
    for one in progress:
        style = _STYLES.get(one.state, "default")
        table.add_row(
            escape(one.step.title), f"[{style}]{_WORDS.get(one.state, one.state.lower())}[/]", duration(one.seconds)
        )
    return table


def duration(seconds: float | None) -> str:
    """`42 s`, `3 min 5 s`, `2 h 7 min`; empty for null."""
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


class _Lines:
    """Tells a line whenever a step's state changes."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._known: dict[str, str] = {}

    def show(self, progress: Sequence[Progress]) -> None:
        for one in progress:
            if one.state != self._known.get(one.step.key, ""):
                self._known[one.step.key] = one.state
                took = f" ({duration(one.seconds)})" if one.state in ENDED and one.seconds is not None else ""
                self._tell(f"{one.step.title}: {_WORDS.get(one.state, one.state.lower())}{took}")


def _patient_get(client: Client, run: str, *, poll_s: float) -> Any:
    """The run, asked for again while the server is away; not where it refuses."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            with calls("the run could not be followed; it goes on by itself"):
                return _get(client, run)
        except _Away as away:
            if time.monotonic() > deadline:
                raise PipelineServiceError(
                    f"the server has been away for {PATIENCE_S:.0f} s ({away}); run {run} goes on by itself"
                ) from None
            time.sleep(poll_s)


class _Away(Exception):
    """The server did not answer, or with a fault of its own that may pass."""


def _get(client: Client, run: str) -> Any:
    import kfp_server_api
    import urllib3

    try:
        # client.get_run knows no timeout, and would wait for ever on a connection that has silently gone.
        return client.runs.run_service_get_run(run, _request_timeout=ANSWER_S)
    except urllib3.exceptions.HTTPError as error:
        raise _Away(str(error)) from None
    except kfp_server_api.ApiException as error:
        if error.status in (0, None, 429) or error.status >= 500:
            raise _Away(f"HTTP {error.status}") from None
        raise
