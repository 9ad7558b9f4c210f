"""What every step does around its one call of the library: log, tell that it began and ended, end on one paragraph.

Runs inside a step's own process, which makes it an entry point: logging is configured here. Knows nothing of kfp.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from taskmix.errors import TaskmixError
from taskmix_components.events import ERROR_PREFIX, StepEvent


@contextmanager
def step(title: str) -> Iterator[None]:
    """Run a step's body between its `started` and its `finished` line.

    The step counts as reused when the library logged an event that begins with `reused`.

    Args:
        title: the step, for people, e.g. `ingest massive`.

    Raises:
        SystemExit: code 2, in place of a TaskmixError, after its message has been printed: a user's fault needs no
            traceback. Any other exception is a fault of our own; it is printed likewise and goes on with its traceback.
    """
    reuse = _ReuseHandler()
    _configure_logging(reuse)
    print(StepEvent("started", title).line(), flush=True)
    start = time.monotonic()
    try:
        yield
    except BaseException as error:
        _tell_failure(title, error, seconds=time.monotonic() - start)
        if isinstance(error, TaskmixError):
            raise SystemExit(2) from None
        raise
    print(StepEvent("finished", title, time.monotonic() - start, reused=reuse.seen).line(), flush=True)


class _ReuseHandler(logging.Handler):
    """Notes whether the library said that it reused what lay on storage."""

    seen = False

    def emit(self, record: logging.LogRecord) -> None:
        self.seen = self.seen or record.getMessage().startswith("reused")


def _configure_logging(reuse: logging.Handler) -> None:
    """One event a line on standard output; other libraries from WARNING on. Replaces what kfp's executor set up."""
    logging.basicConfig(stream=sys.stdout, format="%(message)s", level=logging.WARNING, force=True)
    library = logging.getLogger("taskmix")
    library.setLevel(logging.INFO)
    library.handlers = [reuse]


def _tell_failure(title: str, error: BaseException, *, seconds: float) -> None:
    text = str(error) if isinstance(error, TaskmixError) else f"{type(error).__name__}: {error}"
    sys.stdout.write("".join(f"{ERROR_PREFIX}{line}\n" for line in text.splitlines() or [""]))
    print(StepEvent("failed", title, seconds).line(), flush=True)
