from __future__ import annotations

import logging
import os
import pty
import subprocess
import sys

import pytest

from taskmix.storage.progress import QUIET_BYTES, transfer_progress

ON_TERMINAL = """
import sys
from taskmix.storage.progress import transfer_progress
with transfer_progress("upload s3://bucket/[model]", total_bytes=10**9) as on_bytes:
    on_bytes(500_000_000)
"""


def test_elsewhere_than_on_a_terminal_progress_is_log_lines(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with transfer_progress("upload /models", total_bytes=10**9) as on_bytes:
        for _ in range(1000):
            on_bytes(10**6)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("upload /models done_mb=1000 total_mb=1000 mb_per_s=")


def test_a_small_transfer_is_quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with transfer_progress("upload /models", total_bytes=QUIET_BYTES - 1) as on_bytes:
        on_bytes(QUIET_BYTES - 1)
    assert caplog.records == []


def test_on_a_terminal_progress_is_a_bar() -> None:
    terminal, end = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    subprocess.run([sys.executable, "-c", ON_TERMINAL], stderr=end, env=environment, check=True)
    os.close(end)
    shown = os.read(terminal, 100_000).decode()
    os.close(terminal)
    assert "upload s3://bucket/[model]" in shown
    assert "0.5/1.0 GB" in shown
