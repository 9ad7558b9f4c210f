"""Following a run to its end, listing runs, reading a step's log; by the commands that people type."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from kfp_server import KfpServer
from kfp_state import Frame
from rich.console import Console
from typer.testing import CliRunner

from taskmix.cli.app import make_app
from taskmix.config.schema import Config
from taskmix.errors import PipelineServiceError
from taskmix_pipelines.connection import Connection
from taskmix_pipelines.follow import duration, follow, steps_table
from taskmix_pipelines.runs import find_step, latest_runs, pods_of, read_log, run_steps, runs_table
from taskmix_pipelines.steps import Progress, Step
from taskmix_pipelines.submit import submit

if TYPE_CHECKING:
    from kfp import Client

DONE = {"fingerprint": "SUCCEEDED", "ingest": "SUCCEEDED"}
ENDING = {"finetune": "SUCCEEDED", "evaluate": "SUCCEEDED", "benchmark": "SUCCEEDED", "gate": "SUCCEEDED"}
GOOD = [
    Frame("PENDING"),
    Frame("RUNNING", {"fingerprint": "PENDING"}),
    Frame("RUNNING", {"fingerprint": "RUNNING"}),
    Frame("RUNNING", {**DONE, "finetune": "RUNNING"}),
    Frame(
        "SUCCEEDED", {**DONE, **ENDING, "deploy": "SUCCEEDED", "smoke-test": "SUCCEEDED", "keep-champion": "SKIPPED"}
    ),
]
BAD = [Frame("RUNNING", {**DONE, "finetune": "RUNNING"}), Frame("FAILED", {**DONE, "finetune": "FAILED"})]


def test_lines_tell_each_change_once(
    kfp_server: KfpServer, client: Client, connection: Connection, tiny: Config
) -> None:
    done = submit(tiny, client=client, connection=connection)
    kfp_server.state.frames = list(GOOD)
    begin, told = len(kfp_server.talk), []
    outcome = follow(done.run, client=client, steps=done.version.steps, tell=told.append, poll_s=0.01, live=False)
    assert outcome.state == "SUCCEEDED"
    assert told == [
        "fingerprint utterances: starts",
        "fingerprint utterances: runs",
        "fingerprint utterances: done (1 min 15 s)",
        "ingest utterances: done (1 min 15 s)",
        "finetune svm [intent]: runs",
        "finetune svm [intent]: done (1 min 15 s)",
        "evaluate svm [intent]: done (1 min 15 s)",
        "benchmark: done (1 min 15 s)",
        "gate: done (1 min 15 s)",
        "deploy taskmix: done (1 min 15 s)",
        "smoke test taskmix: done (1 min 15 s)",
        "keep champion taskmix: skipped (1 min 15 s)",
    ]
    assert set(kfp_server.conversation(since=begin)) == {f"GET /apis/v2beta1/runs/{done.run} 200"}
    assert len(kfp_server.talk) - begin == len(GOOD)


def test_failed_driver_is_its_steps_failure(
    kfp_server: KfpServer, client: Client, connection: Connection, tiny: Config
) -> None:
    done = submit(tiny, client=client, connection=connection)
    kfp_server.state.frames = [Frame("FAILED", {"fingerprint": "DRIVER FAILED"})]
    outcome = follow(done.run, client=client, steps=done.version.steps, tell=lambda line: None, poll_s=0.01, live=False)
    assert [progress.step.title for progress in outcome.failed_steps] == ["fingerprint utterances"]


def test_passing_fault_of_the_server_is_waited_out_and_a_refusal_is_not(
    kfp_server: KfpServer, client: Client, connection: Connection, tiny: Config
) -> None:
    done = submit(tiny, client=client, connection=connection)
    kfp_server.state.frames = [GOOD[-1]]
    kfp_server.faults["run_service_get_run"] = [503, 500, 503]
    outcome = follow(done.run, client=client, steps=done.version.steps, tell=lambda line: None, poll_s=0.01, live=False)
    assert outcome.state == "SUCCEEDED"
    kfp_server.faults["run_service_get_run"] = [401]
    with pytest.raises(PipelineServiceError, match="could not be followed; it goes on by itself: HTTP 401"):
        follow(done.run, client=client, steps=done.version.steps, tell=lambda line: None, poll_s=0.01, live=False)


def test_table_shows_every_step_with_its_state_and_time() -> None:
    shown = io.StringIO()
    progress = [
        Progress(Step("a", "finetune minilm [intent+slots]"), "RUNNING", 7384.0),
        Progress(Step("b", "gate")),
        Progress(Step("c", "deploy x"), "FAILED", 3.0),
    ]
    Console(file=shown, width=80).print(steps_table(progress))
    lines = [line.split() for line in shown.getvalue().splitlines()]
    assert ["finetune", "minilm", "[intent+slots]", "runs", "2", "h", "3", "min"] in lines
    assert ["gate", "waits"] in lines
    assert ["deploy", "x", "FAILED", "3", "s"] in lines
    assert duration(185) == "3 min 5 s"


def test_table_changes_in_place_until_the_run_ends(
    kfp_server: KfpServer, client: Client, connection: Connection, tiny: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    done = submit(tiny, client=client, connection=connection)
    kfp_server.state.frames = list(GOOD)
    told: list[str] = []
    follow(done.run, client=client, steps=done.version.steps, tell=told.append, poll_s=0.01, live=True)
    assert not told
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["finetune", "svm", "[intent]", "done", "1", "min", "15", "s"] in rows
    assert ["keep", "champion", "taskmix", "skipped", "1", "min", "15", "s"] in rows


def test_ctrl_c_ends_the_following_and_not_the_run(kfp_server: KfpServer, tiny_file: Path, cluster: list[str]) -> None:
    kfp_server.state.frames = [BAD[0]]
    taskmix = str(Path(sys.executable).with_name("taskmix"))
    with subprocess.Popen(
        [taskmix, "submit", str(tiny_file), *cluster, "--wait", "--host", kfp_server.url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as following:
        assert following.stdout is not None
        assert any("finetune svm [intent]: runs" in line for line in following.stdout)
        following.send_signal(signal.SIGINT)
        _, told = following.communicate(timeout=60)
    (run,) = kfp_server.state.runs
    assert following.returncode == 130
    assert told == f"taskmix: no longer followed; run {run} goes on: {kfp_server.url}/#/runs/details/{run}\n"
    assert not any("terminate" in exchange.path for exchange in kfp_server.talk)


def command(server: KfpServer, *arguments: str) -> subprocess.CompletedProcess[str]:
    taskmix = str(Path(sys.executable).with_name("taskmix"))
    return subprocess.run([taskmix, *arguments, "--host", server.url], capture_output=True, text=True, timeout=60)


def test_submit_that_waits_ends_with_the_runs_outcome(
    kfp_server: KfpServer, tiny_file: Path, cluster: list[str]
) -> None:
    kfp_server.state.frames = [GOOD[-1]]
    good = CliRunner().invoke(make_app(), ["submit", str(tiny_file), *cluster, "--wait", "--host", kfp_server.url])
    assert good.exit_code == 0, good.output
    version, link, *steps, end = good.stdout.splitlines()
    assert version.startswith("pipeline version tiny-")
    assert version.endswith(": uploaded")
    (run,) = kfp_server.state.runs
    assert link == f"run {run}: {kfp_server.url}/#/runs/details/{run}"
    assert "gate: done (1 min 15 s)" in steps
    assert end == "the run succeeded"

    kfp_server.state.frames = [BAD[-1]]
    bad = command(kfp_server, "submit", str(tiny_file), *cluster, "--wait")
    run = list(kfp_server.state.runs)[-1]
    assert bad.returncode == 1
    assert "is there already" in bad.stdout
    assert bad.stderr.splitlines() == [
        f"taskmix: run {run} failed",
        "step 'finetune svm [intent]' failed; its log:",
        f'  taskmix logs {run} "finetune svm [intent]"',
        f"{kfp_server.url}/#/runs/details/{run}",
    ]


def test_commands_end_with_one_sentence_where_the_server_is_unfit(
    kfp_server: KfpServer, tiny_file: Path, cluster: list[str]
) -> None:
    kfp_server.health["tag_name"] = "2.4.0"
    done = command(kfp_server, "submit", str(tiny_file), *cluster)
    assert done.returncode == 2
    assert done.stderr == f"taskmix: {kfp_server.url}: is version 2.4.0, at least 2.17 is needed; upgrade it\n"


def test_runs_lists_the_latest_first(
    kfp_server: KfpServer, client: Client, connection: Connection, tiny: Config
) -> None:
    for name in ("tiny", "other", "tiny"):
        submit(tiny.model_copy(update={"name": name}), client=client, connection=connection)
    ids = list(kfp_server.state.runs)
    found = latest_runs(client, connection=connection, experiment="tiny", count=20)
    assert [run.run_id for run in found] == [ids[2], ids[0]]
    assert len(latest_runs(client, connection=connection, experiment=None, count=2)) == 2
    shown = io.StringIO()
    Console(file=shown, width=120).print(runs_table(found))
    assert [line.split()[-1] for line in shown.getvalue().splitlines() if "pending" in line] == [ids[2], ids[0]]
    with pytest.raises(PipelineServiceError, match="no experiment is called 'nobody'"):
        latest_runs(client, connection=connection, experiment="nobody", count=20)


def test_log_of_a_step_holds_every_try(
    kfp_server: KfpServer, client: Client, connection: Connection, tiny: Config
) -> None:
    done = submit(tiny, client=client, connection=connection)
    kfp_server.state.frames, kfp_server.state.retried = [GOOD[-1]], {"finetune": 2}
    step = find_step(run_steps(client, done.run), "finetune svm [intent]")
    first, second = pods_of(kfp_server.state.workflow(done.run), step)
    assert first.name.startswith("tiny-2")
    assert "-x7k2p-retry-system-container-impl-" in first.name
    kfp_server.state.logs = {first.name: "out of memory", second.name: "trained\n"}
    begin = len(kfp_server.talk)
    tries = [f"--- try 1 of 2, failed, pod {first.name}", f"--- try 2 of 2, succeeded, pod {second.name}"]
    expected = f"{tries[0]}\nout of memory\n{tries[1]}\ntrained\n"
    assert "".join(read_log(done.run, step, connection=connection)) == expected
    assert kfp_server.conversation(since=begin)[:2] == [
        f"GET /apis/v1beta1/runs/{done.run} 200",
        f"GET /k8s/pod/logs?podname={first.name}&runid={done.run}&podnamespace=kubeflow 200",
    ]
    kfp_server.behind_ui = False
    assert "".join(read_log(done.run, step, connection=connection)) == expected
    assert kfp_server.conversation()[-1] == f"GET /apis/v1alpha1/runs/{done.run}/nodes/{second.name}/log 200"


def test_log_that_is_not_there_is_told(
    kfp_server: KfpServer, client: Client, connection: Connection, tiny: Config
) -> None:
    done = submit(tiny, client=client, connection=connection)
    kfp_server.state.frames = [BAD[-1]]
    steps = run_steps(client, done.run)
    with pytest.raises(PipelineServiceError, match=r"step 'gate' of run .* has no pod: it has not begun"):
        list(read_log(done.run, find_step(steps, "gate"), connection=connection))
    for behind_ui in (True, False):
        kfp_server.behind_ui = behind_ui
        with pytest.raises(PipelineServiceError, match=r"the log of pod .* cannot be read.*only where Argo archives"):
            list(read_log(done.run, find_step(steps, "finetune"), connection=connection))
    with pytest.raises(PipelineServiceError, match=r"unknown step 'finetune svm'.*mean 'finetune svm \[intent\]'"):
        find_step(steps, "finetune svm")
    with pytest.raises(PipelineServiceError, match=r"run gone could not be read: HTTP 404: ResourceNotFoundError"):
        run_steps(client, "gone")
