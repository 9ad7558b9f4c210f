"""Telling a person how far a transfer is: a bar on a terminal, plain log lines elsewhere, nothing for a small one."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from taskmix.storage.objects import OnBytes, ignore_bytes

QUIET_BYTES = 64 * 2**20
"""Less than this is over before anybody wonders; an arbitrary number."""
LINE_EVERY_S = 10.0

log = logging.getLogger(__name__)


@contextmanager
def transfer_progress(description: str, *, total_bytes: int) -> Iterator[OnBytes]:
    """Show a transfer's progress while the block runs.

    Args:
        description: verb and URI (redacted), e.g. `upload s3://bucket/models`.
        total_bytes: the size of all of it; less than `QUIET_BYTES` shows nothing.

    Yields:
        What to call with the number of bytes that have travelled since; from any thread.
    """
    if total_bytes < QUIET_BYTES:
        yield ignore_bytes
    elif sys.stderr.isatty():
        with _bar(description, total_bytes) as on_bytes:
            yield on_bytes
    else:
        yield _Lines(description, total_bytes)


@contextmanager
def _bar(description: str, total_bytes: int) -> Iterator[OnBytes]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(description, total=total_bytes)
        yield lambda count: progress.advance(task, count)


class _Lines:
    """One log line every `LINE_EVERY_S` seconds, and one at the end."""

    def __init__(self, description: str, total_bytes: int) -> None:
        self._description = description
        self._total_bytes = total_bytes
        self._done_bytes = 0
        self._start_s = self._told_s = time.monotonic()
        self._lock = threading.Lock()

    def __call__(self, count: int) -> None:
        with self._lock:
            self._done_bytes += count
            now_s = time.monotonic()
            if now_s - self._told_s < LINE_EVERY_S and self._done_bytes < self._total_bytes:
                return
            self._told_s = now_s
            done_mb, total_mb = self._done_bytes / 1e6, self._total_bytes / 1e6
            speed = done_mb / max(now_s - self._start_s, 1e-3)
        log.info("%s done_mb=%.0f total_mb=%.0f mb_per_s=%.1f", self._description, done_mb, total_mb, speed)
