"""Run a configuration's graph on this machine, and stop all of it when asked to.

KFP's local runner works in a process of its own (`worker`); this one watches it, tells people what happens, and ends
the worker's whole process group on a failure, on Ctrl-C and on SIGTERM. Does not import kfp.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import FrameType

from taskmix import storage
from taskmix.config.schema import Config
from taskmix.errors import RunFailed, StorageError
from taskmix_components.events import StepEvent
from taskmix_pipelines.progress import Progress

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
GRACE_S = 3.0
"""How long a stopped step may take to end by itself before it is killed; arbitrary."""


class RunStopped(Exception):
    """The run was asked to stop by a signal; nothing of it is running any more."""

    def __init__(self, number: int) -> None:
        self.signal = signal.Signals(number)
        super().__init__(
            f"stopped by {self.signal.name}; what was finished is on storage: run again to go on from there"
        )


@dataclass(frozen=True)
class LocalRun:
    """A run that ended well.

    Attributes:
        run: the run's id.
        uri: the run's folder on storage.
        steps: every step's last event, in the order in which they ran.
        log: URI of the full log.
    """

    run: str
    uri: str
    steps: tuple[StepEvent, ...]
    log: str


def new_run_id() -> str:
    """`YYYYmmdd-HHMMSS-<4 hex digits>`: sorts by time, and two runs of one second differ."""
    return f"{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def run_locally(config: Config, *, tell: Callable[[str], None] = print) -> LocalRun:
    """Run the whole graph of `config` here, one step after another.

    Args:
        config: what to run.
        tell: gets each line that people should see.

    Raises:
        RunFailed: a step failed; the message begins with the step's own error.
        RunStopped: SIGINT, SIGTERM or SIGHUP came; every process of the run has been ended.
    """
    run = new_run_id()
    uri = storage.join(config.storage, "runs", run)
    tell(f"run {run} of {config.name}; all that it writes lies below {config.storage}")
    with tempfile.TemporaryDirectory(prefix="taskmix-run-", ignore_cleanup_errors=True) as scratch:
        log_file = Path(scratch, "run.log")
        try:
            with log_file.open("w", encoding="utf-8") as log:
                progress = Progress(tell=tell, log=log)
                returned = _run_worker(config, run=run, scratch=Path(scratch), follow=progress.follow)
        finally:
            log_uri = _keep_log(log_file, storage.join(uri, "run.log"))
    if progress.failed or returned != 0:
        raise RunFailed(progress.failure(log=log_uri))
    return LocalRun(run, uri, tuple(progress.finished), log_uri)


def _run_worker(config: Config, *, run: str, scratch: Path, follow: Callable[[Iterable[str]], bool]) -> int:
    """Exit code of the worker, whose group is gone when this returns, however it returns."""
    order, folder = scratch / "order.json", scratch / "kfp"
    folder.mkdir()
    order.write_text(json.dumps({"config": config.model_dump(mode="json"), "run": run, "folder": str(folder)}))
    with _signals_raise():
        worker = subprocess.Popen(
            [sys.executable, "-m", "taskmix_pipelines.worker", str(order)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            env={**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONSAFEPATH": "1", "TMPDIR": str(scratch)},
            start_new_session=True,
        )
        with worker:
            try:
                assert worker.stdout is not None
                if follow(worker.stdout):
                    worker.wait()
            finally:
                _stop(worker)
    return worker.returncode


def _stop(worker: subprocess.Popen[str]) -> None:
    """End every process of the worker's group: asked first, killed after `GRACE_S`."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C must not cut this short
    with suppress(ProcessLookupError):
        os.killpg(worker.pid, signal.SIGTERM)
        deadline = time.monotonic() + GRACE_S
        while time.monotonic() < deadline:
            worker.poll()
            os.killpg(worker.pid, 0)
            time.sleep(0.02)
        os.killpg(worker.pid, signal.SIGKILL)


@contextmanager
def _signals_raise() -> Iterator[None]:
    """Turn a stop signal into `RunStopped`, so that the way out is the way of any exception.

    A signal that the caller has ignored (`nohup`) stays ignored.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        raise RunStopped(number)

    heeded = [number for number in STOP_SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    previous = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    for number in heeded:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _keep_log(path: Path, uri: str) -> str:
    """Put the log beside the run and tell where; storage that cannot be reached must not hide a step's error."""
    try:
        storage.write_bytes(uri, path.read_bytes())
    except StorageError:
        fallback = Path(tempfile.mkdtemp(prefix="taskmix-log-"), "run.log")
        fallback.write_bytes(path.read_bytes())
        return str(fallback)
    return uri
