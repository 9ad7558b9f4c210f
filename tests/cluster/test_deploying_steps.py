"""The compiled steps `deploy` and `smoke_test`, each a process as in a pod, against a real API server and real S3."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from compiled_step import CompiledStep, compile_steps
from played_kserve import PlayedKServe
from tiny_bundles import publish_run

from taskmix import storage
from taskmix.cluster.connection import Cluster
from taskmix.cluster.kinds import INFERENCE_SERVICE, LEASE
from taskmix.config.schema import Config
from taskmix.serving.assembly import assemble
from taskmix.serving.releases import champion, stage

CONFIG: dict[str, Any] = {
    "name": "assistant",
    "images": {kind: f"registry.example/{kind}@sha256:{'0' * 64}" for kind in ("train", "serve")},
    "datasets": {"words": {"format": "generated", "train": 100, "dev": 20, "test": 30}},
    "tasks": {"intent": {"type": "classification", "dataset": "words", "label": "intent"}},
    "models": {"svm": {"kind": "linear"}},
}
DEPLOYMENT = {"name": "assistant", "canary_percent": 25, "canary_s": 0.5, "ready_timeout_s": 30}


class Steps:
    """The steps of one configuration whose storage and namespace are the test's own, and what they left."""

    def __init__(self, root: str, cluster: Cluster, kserve: PlayedKServe, folder: Path) -> None:
        self.root, self.cluster, self.folder = root, cluster, folder
        self._where = {"namespace": cluster.namespace, "gateway": kserve.gateway}

    def compiled(self, title: str, **changed: Any) -> CompiledStep:
        deployment = {**DEPLOYMENT, **self._where, **changed}
        return compile_steps(Config.model_validate({**CONFIG, "storage": self.root, "deployment": deployment}))[title]

    def deploy(self, run: str, **changed: Any) -> subprocess.Popen[str]:
        report = storage.join(self.root, "runs", run, "report")
        return self.compiled("deploy assistant", **changed).start(self.folder, report=report, run=run)

    @property
    def output(self) -> str:
        told = json.loads((self.folder / "output.json").read_text())
        return str(told["parameterValues"]["Output"])

    @property
    def service(self) -> Any:
        return self.cluster.get(INFERENCE_SERVICE, "assistant")

    @property
    def holder(self) -> str:
        return str(self.cluster.get(LEASE, "taskmix-assistant")["spec"].get("holderIdentity") or "")

    @property
    def served_run(self) -> Any:
        return (champion(self.root, "assistant") or {}).get("run")


@pytest.fixture
def steps(swift: Any, cluster: Cluster, kserve: PlayedKServe, tmp_path: Path) -> Steps:
    for seed, run in enumerate(("run-1", "run-2"), start=1):
        publish_run(swift.uri, run=run, seed=seed)
    return Steps(swift.uri, cluster, kserve, tmp_path)


def finished(step: subprocess.Popen[str]) -> tuple[int, str]:
    """A step's exit code and what it said."""
    told, _ = step.communicate(timeout=120)
    return step.returncode, told


def wait_until(condition: Callable[[], object], *, timeout_s: float = 60) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "not in time"
        time.sleep(0.1)


def test_a_step_that_is_cancelled_gives_back_what_was_served_and_the_next_deploys(
    steps: Steps, kserve: PlayedKServe
) -> None:
    code, told = finished(steps.deploy("run-1"))
    assert (code, steps.output) == (0, f"{steps.root}/deployments/assistant/history/run-1.json"), told
    before = steps.service["spec"]

    with steps.deploy("run-2", canary_s=120) as cancelled:
        wait_until(lambda: {"run-1": 100, "run-2": 25} in kserve.seen)  # users are sent to the canary
        os.killpg(cancelled.pid, signal.SIGTERM)  # as Argo does to all of a container
        wait_until(lambda: not steps.holder)
        told, _ = cancelled.communicate(timeout=60)

    assert steps.service["spec"] == before
    assert steps.served_run == "run-1"
    wait_until(lambda: kserve.seen[-1] == {"run-1": 100})  # the controller follows what was given back
    assert "error: SystemExit: 143" in told
    assert "step failed: deploy assistant" in told

    code, told = finished(steps.deploy("run-2"))

    assert code == 0, told
    assert kserve.seen[-2:] == [{"run-1": 100, "run-2": 25}, {"run-2": 100}]
    assert steps.served_run == "run-2"
    assert not steps.holder


def test_the_smoke_test_asks_what_is_served_to_all_and_fails_where_that_is_something_else(steps: Steps) -> None:
    code, told = finished(steps.deploy("run-1"))
    assert code == 0, told
    release, before = steps.output, steps.service
    smoke_test = steps.compiled("smoke test assistant", ready_timeout_s=3)

    code, told = finished(smoke_test.start(steps.folder, release=release))

    assert (code, steps.output) == (0, release), told
    assert "step finished: smoke test assistant" in told
    assert steps.service == before

    other = assemble(stage(f"{steps.root}/runs/run-2/report", deployment="assistant"))

    def changed_by_hand(service: Any) -> Any:
        service["spec"]["predictor"]["model"]["storageUri"] = other
        return service

    steps.cluster.edit(INFERENCE_SERVICE, "assistant", changed_by_hand)
    code, told = finished(smoke_test.start(steps.folder, release=release))

    assert code == 2, told
    assert "error: model assistant: no address answered as the release within 3 s" in told
    assert "serves the bundles" in told
    assert steps.served_run == "run-1"
