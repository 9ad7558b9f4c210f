"""The lines by which a step tells that it began, ended or failed: readable in a cluster's log, parsed by a local run.

Written by `step`, read by `taskmix_pipelines.local`; this is the only place that knows their form.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

ERROR_PREFIX = "error: "
"""Begins each line of a failed step's own error; they stand before its `failed` event."""

_LINE = re.compile(
    r"step (?P<what>started|finished|failed): (?P<title>.+?)(?: \((?P<seconds>\d+\.\d) s(?P<reused>, reused)?\))?"
)


@dataclass(frozen=True)
class StepEvent:
    """One line of a step's log.

    Attributes:
        what: which of a step's three events it is.
        title: the step, for people, e.g. `finetune minilm [intent+slots]`.
        seconds: how long the step took; zero when it starts.
        reused: the step found its result complete on storage and made nothing anew.
    """

    what: Literal["started", "finished", "failed"]
    title: str
    seconds: float = 0.0
    reused: bool = False

    def line(self) -> str:
        """The event as one line of log."""
        if self.what == "started":
            return f"step started: {self.title}"
        return f"step {self.what}: {self.title} ({self.seconds:.1f} s{', reused' if self.reused else ''})"


def parse_event(line: str) -> StepEvent | None:
    """The event that `line` tells, or None where it is any other line."""
    match = _LINE.fullmatch(line.strip())
    if match is None:
        return None
    seconds = float(match["seconds"] or 0.0)
    what: Literal["started", "finished", "failed"] = match["what"]  # type: ignore[assignment]
    return StepEvent(what, match["title"], seconds, reused=match["reused"] is not None)
