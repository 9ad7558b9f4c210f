"""Training by TrainJobs against a real API server, with the controller, the pods and the kubelet's logs played."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from crd_schema import CrdSchema
from kube_api import KubeApi
from played_trainer import PlayedTrainer, playing_trainer, until

from taskmix import storage
from taskmix.cluster.connection import Cluster
from taskmix.cluster.kinds import POD, TRAIN_JOB
from taskmix.cluster.train_job import new_train_job, train_job_name
from taskmix.cluster.training import finetune, follow
from taskmix.config.plan import DatasetSlice, JobSlice, NodesSlice
from taskmix.data.ingest import ingest, source_version
from taskmix.errors import ClusterError, TrainingError

IMAGE = f"registry.example/train@sha256:{'a' * 64}"
TASKS = {"intent": {"type": "classification", "dataset": "words", "label": "intent"}}
JOB = JobSlice.model_validate({"model_name": "svm", "seed": 3, "model": {"kind": "linear"}, "tasks": TASKS})
HARDWARE = {"gpus": 8, "nodes": 2, "cpus": 96, "memory_gib": 1500, "runtime": "taskmix-torch-h100"}
NODES = NodesSlice.model_validate({"image": IMAGE, "hardware": HARDWARE})
DISRUPTED = {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}


@pytest.fixture
def trainer(kube_api: KubeApi, cluster: Cluster) -> Iterator[PlayedTrainer]:
    with playing_trainer(kube_api, cluster) as played:
        yield played


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


def wanted(name: str = "taskmix-one") -> dict[str, Any]:
    environment = {"AWS_REGION": "eu-west-1", "AWS_SECRET_ACCESS_KEY": "secret"}
    return new_train_job(name, JOB, datasets=["s3://b/d"], storage="s3://b", nodes=NODES, environment=environment)


def followed(pool: ThreadPoolExecutor, trainer: PlayedTrainer, *, preemptions: int = 1) -> Future[None]:
    return pool.submit(follow, trainer.cluster, wanted(), preemptions=preemptions, poll_s=0.05)


def failed(code: int, *, reason: str = "Error") -> dict[str, Any]:
    state = {"terminated": {"exitCode": code, "reason": reason}}
    told = {"name": "node", "image": "none", "imageID": "", "ready": False, "restartCount": 0, "state": state}
    return {"phase": "Failed", "containerStatuses": [told]}


def test_the_train_job_says_what_runs_and_the_runtime_where(crd_schemas: dict[str, CrdSchema]) -> None:
    value = wanted()

    assert crd_schemas["TrainJob"].violations(value) == []
    trainer, quantities = value["spec"]["trainer"], {"cpu": "96", "memory": "1500Gi", "nvidia.com/gpu": "8"}
    assert value["spec"]["runtimeRef"]["name"] == "taskmix-torch-h100"
    assert value["spec"]["runtimeRef"]["kind"] == "TrainingRuntime"
    assert (trainer["numNodes"], trainer["image"]) == (2, IMAGE)
    assert trainer["resourcesPerNode"] == {"requests": quantities, "limits": quantities}
    assert {each["name"]: each["value"] for each in trainer["env"]} == {
        "PYTHONUNBUFFERED": "1",
        "AWS_REGION": "eu-west-1",
    }


def test_a_train_job_is_followed_with_its_pods_lines_and_removed_when_it_is_done(
    trainer: PlayedTrainer, pool: ThreadPoolExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    following = followed(pool, trainer)
    made = trainer.train_job("taskmix-one")
    waiting = {"type": "PodScheduled", "status": "False", "message": "0/9 nodes have a free gpu"}
    trainer.pod(made, 0, phase="Pending", conditions=[waiting])
    until(lambda: "node-0 waits for a node: 0/9 nodes have a free gpu" in caplog.text)
    trainer.pod(made, 1, log="epoch 1\nepoch 2, größer\n")
    until(lambda: "node-1 | epoch 2, größer" in caplog.text)
    trainer.end(made, "Complete")

    following.result(60)
    assert trainer.cluster.find(TRAIN_JOB, "taskmix-one") is None


def test_a_step_that_is_tried_again_adopts_the_train_job_and_makes_a_failed_one_anew(
    trainer: PlayedTrainer, pool: ThreadPoolExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    made = trainer.cluster.create(TRAIN_JOB, wanted())
    following = followed(pool, trainer)
    until(lambda: "adopted train_job=taskmix-one" in caplog.text)
    trainer.end(made, "Complete")
    following.result(60)

    old = trainer.cluster.create(TRAIN_JOB, wanted())
    trainer.end(old, "Failed", message="of the attempt before")
    following = followed(pool, trainer)
    trainer.end(trainer.train_job("taskmix-one", other_than=old), "Complete")
    following.result(60)


def test_a_train_job_that_fails_tells_the_pods_reasons(trainer: PlayedTrainer, pool: ThreadPoolExecutor) -> None:
    following = followed(pool, trainer)
    made = trainer.train_job("taskmix-one")
    trainer.pod(made, 1, log="RuntimeError: CUDA out of memory\n", **failed(1, reason="OOMKilled"))
    trainer.end(made, "Failed", message="job node-0 failed")

    with pytest.raises(
        TrainingError,
        match=r"(?s)TrainJob taskmix-one .*failed: JobsFailed: job node-0 failed.*OOMKilled with exit code 1\n"
        r" +RuntimeError: CUDA out of memory",
    ):
        following.result(60)
    assert trainer.cluster.find(TRAIN_JOB, "taskmix-one") is None


@pytest.mark.parametrize("how", ["marked", "evicted", "gone"])
def test_a_train_job_whose_node_was_taken_is_made_anew_until_the_budget_is_spent(
    trainer: PlayedTrainer, pool: ThreadPoolExecutor, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    caplog.set_level(logging.INFO)
    following, made = followed(pool, trainer, preemptions=1), None
    for lost in range(2):
        made = trainer.train_job("taskmix-one", other_than=made)
        pod = trainer.pod(made, 0, log="step 1\n")
        name = pod["metadata"]["name"]
        match how:
            case "marked":
                trainer.turn(name, conditions=[DISRUPTED], **failed(143))
            case "evicted":
                trainer.turn(name, phase="Failed", reason="Evicted")
            case "gone":
                until(lambda lost=lost: caplog.text.count("node-0 | step 1") > lost)  # it was seen running
                trainer.remove(pod)
        trainer.end(made, "Failed", message="a node was lost")

    with pytest.raises(TrainingError, match=r"lost a node \(.*\), 2 times; hardware.preemptions allows 1"):
        following.result(60)


def test_a_cancelled_step_deletes_its_train_job(kube_api: KubeApi, trainer: PlayedTrainer, tmp_path: Path) -> None:
    program = (
        "import sys, json; from taskmix.cluster.connection import connect; from taskmix.cluster.training import follow;"
        "from taskmix.serving.child import sigterm_as_exit\n"
        "with sigterm_as_exit(): follow(connect(sys.argv[1]), json.loads(sys.argv[2]), preemptions=0, poll_s=0.05)"
    )
    command = [sys.executable, "-c", program, trainer.cluster.namespace, json.dumps(wanted())]
    environment = {**os.environ, "KUBECONFIG": str(kube_api.kubeconfig)}
    with subprocess.Popen(command, env=environment) as step:
        trainer.train_job("taskmix-one")
        step.send_signal(signal.SIGTERM)
        assert step.wait(60) == 128 + signal.SIGTERM
    assert trainer.cluster.find(TRAIN_JOB, "taskmix-one") is None


def test_a_missing_permission_is_told(restricted: Callable[..., Cluster]) -> None:
    with pytest.raises(ClusterError, match=r"grant 'create' on 'trainjobs' of API group 'trainer\.kubeflow\.org'"):
        follow(restricted(), wanted(), preemptions=0, poll_s=0.05)


@pytest.fixture(scope="module")
def dataset_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    dataset = {"format": "generated", "train": 240, "dev": 60, "test": 60}
    part = DatasetSlice.model_validate({"name": "words", "seed": 3, "dataset": dataset, "tasks": TASKS})
    return ingest(part, storage=str(tmp_path_factory.mktemp("storage")), version=source_version(part))


def test_the_command_of_the_train_job_trains_the_job_that_the_step_waits_for(
    trainer: PlayedTrainer, pool: ThreadPoolExecutor, dataset_uri: str, tmp_path: Path
) -> None:
    root = str(tmp_path)
    how = {"datasets": [dataset_uri], "storage": root, "nodes": NODES, "cluster": trainer.cluster, "poll_s": 0.05}
    following = pool.submit(finetune, JOB, **how)
    (made,) = until(lambda: trainer.cluster.list(TRAIN_JOB))
    order = made["spec"]["trainer"]
    command = [sys.executable, *order["command"][1:], *order["args"]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    trainer.end(made, "Complete")

    uri = following.result(60)

    assert made["metadata"]["name"] == train_job_name(uri)
    assert storage.is_complete(f"{uri}/bundle")
    assert finetune(JOB, **how) == uri  # found done: no TrainJob is made
    assert not trainer.cluster.list(TRAIN_JOB)
    storage.delete_prefix(f"{uri}/bundle")
    following = pool.submit(finetune, JOB, **how)
    trainer.end(trainer.train_job(train_job_name(uri), other_than=made), "Complete")
    with pytest.raises(TrainingError, match=r"ended well, but .*/bundle is not complete"):
        following.result(60)
    assert not trainer.cluster.list(POD)
