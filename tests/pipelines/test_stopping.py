"""Stopping a run and failing in one: real commands, real processes, no training."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

COMMAND = [sys.executable, "-c", "from taskmix.cli import main; main()"]
CONFIG = """
name: stopping
storage: {storage}
datasets:
  tickets: {{format: csv, uri: "{uri}", text: text}}
tasks:
  urgency: {{type: classification, dataset: tickets, label: urgency}}
models:
  svm: {{kind: linear}}
"""


@pytest.fixture
def silent_server() -> Iterator[str]:
    """URL of a server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def write_config(folder: Path, uri: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(CONFIG.format(storage=folder / "storage", uri=uri))
    return path


def processes_of_the_step(command: subprocess.Popen[str]) -> list[psutil.Process]:
    """Everything below the command, once a step's own process runs."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        below = psutil.Process(command.pid).children(recursive=True)
        if any("kfp.dsl.executor_main" in process.cmdline() and process.name() != "sh" for process in below):
            return below
        time.sleep(0.05)
    raise AssertionError("no step has begun")


@pytest.mark.parametrize(
    ("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_stopped_run_leaves_no_process(
    number: signal.Signals, exit_code: int, silent_server: str, tmp_path: Path
) -> None:
    config = write_config(tmp_path, f"{silent_server}/{{split}}.csv")
    with subprocess.Popen(
        [*COMMAND, "run", str(config)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as command:
        assert command.stdout is not None
        told = [command.stdout.readline(), command.stdout.readline()]
        below = processes_of_the_step(command)
        command.send_signal(number)
        rest = command.communicate(timeout=30)[0]
    assert told[1] == "fingerprint tickets ...\n"
    assert command.returncode == exit_code
    assert len(below) >= 3, "the runner, a shell and the step"
    _, alive = psutil.wait_procs(below, timeout=5)
    assert alive == []
    if number != signal.SIGKILL:
        assert f"stopped by {number.name}; what was finished is on storage" in rest
        assert "Traceback" not in rest


def run_command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, **environment}
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=120, env=env)


def test_failed_step_ends_the_run_with_its_own_error_first(tmp_path: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / f"{split}.csv").write_text("message,urgency\nhelp,high\nthanks,low\n")
    config = write_config(tmp_path, str(tmp_path / "{split}.csv"))
    done = run_command("run", str(config))
    assert done.returncode == 1
    assert done.stderr.startswith(f"taskmix: {tmp_path}/train.csv")
    assert "text" in done.stderr.splitlines()[0]
    assert "step 'ingest tickets' failed after" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "finetune" not in done.stdout
    log = Path(done.stderr.split("full log: ")[1].strip())
    assert log.parent.parent == tmp_path / "storage" / "runs"
    assert "Executing task" in log.read_text()


def test_log_is_kept_where_storage_takes_nothing(tmp_path: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / f"{split}.csv").write_text("text,urgency\nhelp me,high\nthank you,low\n")
    config = write_config(tmp_path, str(tmp_path / "{split}.csv"))
    (tmp_path / "storage").write_text("a file where a folder should be")
    done = run_command("run", str(config), TMPDIR=str(tmp_path))
    assert done.returncode == 1
    assert str(tmp_path / "storage") in done.stderr.splitlines()[0]
    log = Path(done.stderr.split("full log: ")[1].strip())
    assert log.parent.name.startswith("taskmix-log-")
    assert "Executing task" in log.read_text()


def test_wrong_configuration_runs_nothing(tmp_path: Path) -> None:
    config = write_config(tmp_path, "tickets.csv")
    done = run_command("run", str(config))
    assert done.returncode == 2
    assert "{split}" in done.stderr
    assert not (tmp_path / "storage").exists()
