"""`taskmix deploy` and `taskmix rollback`: by hand to a cluster and back, and what they say where that cannot be."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from kube_api import KubeApi
from played_kserve import PlayedKServe, playing_kserve
from tiny_bundles import publish_run

from taskmix import storage
from taskmix.cluster.connection import connect
from taskmix.cluster.kinds import LEASE

Taskmix = Callable[..., subprocess.CompletedProcess[str]]


def test_deploying_from_a_folder_is_refused_since_pods_do_not_share_it(
    taskmix: Taskmix, config_file: Path, tmp_path: Path
) -> None:
    publish_run(str(tmp_path / "runs"), run="run-1")

    done = taskmix("deploy", "config.yaml", "--run", "run-1")

    assert (done.returncode, done.stdout) == (2, "")
    assert "runs/deployments/taskmix/history/run-1.json: lies in a folder of this machine, which a cluster's pods" in (
        done.stderr
    )
    assert "Traceback" not in done.stderr


def test_a_rollback_before_the_first_deployment_says_so(taskmix: Taskmix, config_file: Path) -> None:
    done = taskmix("rollback", "config.yaml")

    assert done.returncode == 2
    assert "champion.json: is not there: nothing has been deployed under this name" in done.stderr


def test_deploying_without_a_cluster_says_how_to_name_one(taskmix: Taskmix, config_file: Path, swift) -> None:
    publish_run(swift.uri, run="run-1")

    done = taskmix("deploy", "config.yaml", "--run", "run-1", "--storage", swift.uri, env={"KUBECONFIG": "/nowhere"})

    assert done.returncode == 2
    assert "taskmix: no cluster: " in done.stderr
    assert "name a kubeconfig in KUBECONFIG" in done.stderr


@pytest.fixture
def kserve(kube_api: KubeApi, monkeypatch: pytest.MonkeyPatch) -> Iterator[PlayedKServe]:
    """KServe in a namespace of this test's own, played; KUBECONFIG leads to the real API server."""
    monkeypatch.setenv("KUBECONFIG", str(kube_api.kubeconfig))
    with playing_kserve(connect(kube_api.namespace())) as played:
        yield played


def bundles_served(kserve: PlayedKServe) -> list[str]:
    """What the server that users reach names as its bundles."""
    host = f"assistant.{kserve.cluster.namespace}.example.test"
    answer = httpx.get(f"{kserve.gateway}/v1/models/assistant", headers={"Host": host}, trust_env=False)
    return [bundle["manifest"] for bundle in answer.json()["bundles"]]


def test_releases_are_deployed_by_hand_rolled_back_and_deployed_again(
    taskmix: Taskmix, config_file: Path, swift: Any, kserve: PlayedKServe
) -> None:
    manifests = {}
    for run, seed in (("run-1", 1), ("run-2", 2)):
        publish_run(swift.uri, run=run, seed=seed)
        record = storage.read_json(f"{swift.uri}/runs/{run}/systems/tiny.merged.json")
        manifests[run] = [bundle["manifest"] for bundle in record["bundles"]]
    namespace = kserve.cluster.namespace
    where = {"name": "assistant", "namespace": namespace, "gateway": kserve.gateway, "canary_percent": 25}
    options = ["--storage", swift.uri, "--set", f"deployment={json.dumps(where)}", "--set", "deployment.canary_s=0.5"]
    champion_of = "champion: tiny/merged of run {}, " + f"{swift.uri}/deployments/assistant/champion.json"
    served = [
        f"served by InferenceService assistant in namespace {namespace}",
        f"url: http://assistant.{namespace}.example.test/v1/models/assistant:predict",
    ]

    done = taskmix("deploy", "config.yaml", "--run", "run-1", *options)
    assert (done.returncode, done.stdout.splitlines()) == (0, [champion_of.format("run-1"), *served]), done.stderr
    assert bundles_served(kserve) == manifests["run-1"]

    kill_while_it_is_a_canary(["deploy", str(config_file), "--run", "run-2", *options], kserve)
    assert bundles_served(kserve) == manifests["run-1"]
    done = taskmix("deploy", "config.yaml", "--run", "run-2", *options)
    assert (done.returncode, done.stdout.splitlines()) == (0, [champion_of.format("run-2"), *served]), done.stderr
    assert kserve.seen == [{"run-1": 100}, {"run-1": 100, "run-2": 25}, {"run-2": 100}]
    assert bundles_served(kserve) == manifests["run-2"]

    done = taskmix("rollback", "config.yaml", *options)
    told = "rolled back: tiny/merged of run run-2; no run deploys its bundles again by itself, taskmix deploy --run "
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [champion_of.format("run-1"), *served, f"{told}run-2 --again does"]
    assert bundles_served(kserve) == manifests["run-1"]

    done = taskmix("deploy", "config.yaml", "--run", "run-2", *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert "run-2.json: is made of the same bundles as tiny/merged of run run-2, which was rolled back" in done.stderr
    assert "Traceback" not in done.stderr
    assert bundles_served(kserve) == manifests["run-1"]

    done = taskmix("deploy", "config.yaml", "--run", "run-2", "--again", *options)
    assert (done.returncode, done.stdout.splitlines()) == (0, [champion_of.format("run-2"), *served]), done.stderr
    assert bundles_served(kserve) == manifests["run-2"]


def kill_while_it_is_a_canary(arguments: list[str], kserve: PlayedKServe) -> None:
    """Kill a deployment outright, so that it can give nothing back; and let its lease run out in a second."""
    command = [str(Path(sys.executable).with_name("taskmix")), *arguments, "--set", "deployment.canary_s=120"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as deploying:
        deadline_s = time.monotonic() + 60
        while not any("run-2" in shares for shares in kserve.seen):
            assert deploying.poll() is None
            assert time.monotonic() < deadline_s
            time.sleep(0.1)
        deploying.send_signal(signal.SIGKILL)

    def shortened(lease: dict[str, Any]) -> dict[str, Any]:
        assert lease["spec"]["holderIdentity"]
        return {**lease, "spec": {**lease["spec"], "leaseDurationSeconds": 1}}

    kserve.cluster.edit(LEASE, "taskmix-assistant", shortened)
