"""What people see of a local run: made line by line from the worker's output, most of which is for the log only."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import IO

from taskmix_components.events import ERROR_PREFIX, StepEvent, parse_event

_STEP_INDENT = "    "
"""KFP's runner puts this before every line of a step's own output."""
_STEP_FAILED = re.compile(r"\d\d:\d\d:\d\d\.\d+ - ERROR - Task .* finished with status .*FAILURE")
_LAST_LINES = 3


class Progress:
    """Follows a run: tells people each step's begin, own lines and end, and keeps what the ending needs.

    Attributes:
        finished: the steps that ended well, in order.
        failed: a step failed; nothing more is read then.
        errors: lines of the failed step's own error.
    """

    def __init__(self, *, tell: Callable[[str], None], log: IO[str]) -> None:
        self._tell = tell
        self._log = log
        self._title: str | None = None
        self._since = time.monotonic()
        self._last_lines: deque[str] = deque(maxlen=_LAST_LINES)
        self.finished: list[StepEvent] = []
        self.failed = False
        self.errors: list[str] = []

    def follow(self, lines: Iterable[str]) -> bool:
        """Read until the output ends (true) or a step has failed (false).

        KFP's runner would go on with the steps that do not depend on the failed one; on a laptop that only delays the
        news, so the caller stops the run here.
        """
        for line in lines:
            self._log.write(line)
            self._log.flush()
            self._read(line.rstrip("\n"))
            if self.failed:
                return False
        return True

    def failure(self, *, log: str) -> str:
        """What to tell of a run that did not end well: the step's own error first."""
        step = f"step '{self._title}'" if self._title else "the run"
        own = self.errors or self._last_words(step)
        return "\n".join([*own, f"{step} failed after {time.monotonic() - self._since:.1f} s; full log: {log}"])

    def _read(self, line: str) -> None:
        if _STEP_FAILED.match(line):
            self.failed = True
            return
        own = line.removeprefix(_STEP_INDENT)
        event = parse_event(line)
        if event is not None:
            self._turn(event)
            return
        if own.strip():
            self._last_lines.append(own)
        if own.startswith(ERROR_PREFIX):
            self.errors.append(own.removeprefix(ERROR_PREFIX))
        elif self._title is not None and not self.errors and own.strip():
            self._tell(f"  {own}")

    def _turn(self, event: StepEvent) -> None:
        if event.what == "started":
            self._title = event.title
            self._last_lines.clear()
            self._tell(f"{event.title} ...")
        elif event.what == "finished":
            self._title = None
            seconds = time.monotonic() - self._since
            self._tell(f"{event.title}: {'reused' if event.reused else 'done'} ({seconds:.1f} s)")
            self._since = time.monotonic()
            self.finished.append(event)

    def _last_words(self, step: str) -> list[str]:
        """For an end without a step's own error: the last line where no step had begun, else that it was killed."""
        if self._title is None and self._last_lines:
            return [self._last_lines[-1].strip()]
        remedy = "most often it was killed for want of memory; give it more, or a smaller model or batch"
        return [f"{step} ended without an error of its own: {remedy}", *self._last_lines]
