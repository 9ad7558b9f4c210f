"""The TrainJob: how a training run becomes one, and what its conditions and pods say. Functions on objects alone.

Placement (node selectors, tolerations, volumes, priority, the account) stands in the TrainingRuntime that the hardware
profile names; the TrainJob says what runs, on how many nodes, with how much of each.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Literal

from taskmix.cluster.connection import Object
from taskmix.cluster.kinds import TRAIN_JOB
from taskmix.config.plan import JobSlice, NodesSlice
from taskmix.config.quantities import resource_quantities

State = Literal["running", "complete", "failed"]

COMMAND = ("python3", "-m", "taskmix.training.launch")
"""What every pod runs; it finds its place among the others by the variables that Kubeflow Trainer sets."""
PASSED_ON = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION", "HF_HUB_OFFLINE")
"""Variables of the step that its pods get too; secrets come from the runtime."""
JOB_LABEL = "taskmix/job"
DISRUPTIONS = frozenset({"Evicted", "Preempted", "Preempting", "NodeLost", "NodeShutdown", "Shutdown", "Terminated"})
"""Reasons of a pod whose node was taken from it (Kubernetes' pages on pod lifecycle and disruptions)."""


def train_job_name(uri: str) -> str:
    """The name of the TrainJob of the job at `uri`: one for what has one result, whoever asks for it."""
    return f"taskmix-{uri.rstrip('/').rpartition('/')[2]}"


def new_train_job(
    name: str,
    job: JobSlice,
    *,
    datasets: Sequence[str],
    storage: str,
    nodes: NodesSlice,
    environment: Mapping[str, str] = os.environ,
) -> Object:
    """A TrainJob that trains `job`.

    Args:
        name: of the TrainJob.
        job: the model, the block's tasks and the seed.
        datasets: URIs of the ingested datasets.
        storage: root of the run's storage.
        nodes: image and hardware.
        environment: of the step, some of which is passed on.
    """
    hardware = nodes.hardware
    quantities = resource_quantities(hardware)
    passed = {"PYTHONUNBUFFERED": "1"} | {key: environment[key] for key in PASSED_ON if environment.get(key)}
    trainer: Object = {
        "image": nodes.image,
        "command": list(COMMAND),
        "args": [
            *("--slice", job.model_dump_json(), "--storage", storage),
            *(part for uri in datasets for part in ("--dataset", uri)),
        ],
        "env": [{"name": key, "value": value} for key, value in passed.items()],
        "numNodes": hardware.nodes,
    }
    if quantities:
        trainer["resourcesPerNode"] = {"requests": quantities, "limits": quantities}
    runtime = {"apiGroup": TRAIN_JOB.group, "kind": "TrainingRuntime", "name": hardware.runtime}
    return {
        "apiVersion": TRAIN_JOB.api_version,
        "kind": TRAIN_JOB.name,
        "metadata": {
            "name": name,
            "labels": {"app.kubernetes.io/managed-by": "taskmix"},
            "annotations": {JOB_LABEL: job.name},
        },
        "spec": {"runtimeRef": runtime, "trainer": trainer},
    }


def find_state(train_job: Object) -> tuple[State, str]:
    """How the TrainJob stands, and what its condition says."""
    states: dict[str, State] = {"Complete": "complete", "Failed": "failed"}
    for condition in train_job.get("status", {}).get("conditions") or ():
        if condition["type"] in states and condition["status"] == "True":
            told = ": ".join(filter(None, (condition.get("reason"), condition.get("message"))))
            return states[condition["type"]], told or condition["type"]
    return "running", ""


def pod_labels(name: str) -> str:
    """Which pods are the TrainJob's, in the words of a selector: its JobSet has its name."""
    return f"jobset.sigs.k8s.io/jobset-name={name}"


def pod_title(pod: Object) -> str:
    """What a pod is called in front of its log's lines, e.g. `node-0`."""
    labels = pod["metadata"].get("labels", {})
    role = labels.get("jobset.sigs.k8s.io/replicatedjob-name", "node")
    index = labels.get("batch.kubernetes.io/job-completion-index")
    return f"{role}-{index}" if index is not None else str(pod["metadata"]["name"])


def was_disrupted(pod: Object) -> bool:
    """Whether the pod ends because its node was taken from it: preempted, evicted, shut down."""
    status = pod.get("status", {})
    return status.get("reason") in DISRUPTIONS or any(
        condition["type"] == "DisruptionTarget" and condition["status"] == "True"
        for condition in status.get("conditions") or ()
    )


def has_begun(pod: Object) -> bool:
    """Whether there is a log to read."""
    return pod.get("status", {}).get("phase") in ("Running", "Succeeded", "Failed")


def has_ended(pod: Object) -> bool:
    """Whether the pod has done what it will do."""
    return pod.get("status", {}).get("phase") in ("Succeeded", "Failed")
