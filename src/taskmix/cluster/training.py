"""Training on nodes of the cluster, from inside a step: a TrainJob made, followed, made anew where nodes were taken.

A TrainJob is named by the job's fingerprint, so a step that is tried again finds the one that it (or another run that
wants the same) has made, and follows it. Checkpoints lie on storage: a TrainJob made anew goes on from the newest.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from taskmix.cluster.connection import Cluster, Object, connect
from taskmix.cluster.kinds import POD, TRAIN_JOB
from taskmix.cluster.pods import is_hopeless, pod_reasons
from taskmix.cluster.train_job import (
    find_state,
    has_begun,
    has_ended,
    new_train_job,
    pod_labels,
    pod_title,
    train_job_name,
    was_disrupted,
)
from taskmix.config.plan import JobSlice, NodesSlice
from taskmix.errors import Absent, ClusterError, Conflict, TrainingError
from taskmix.serving.child import sigterm_as_exit
from taskmix.storage import is_complete, join
from taskmix.training.job import job_uri, opened

log = logging.getLogger(__name__)

POLL_S = 5.0
GONE_TIMEOUT_S = 300.0
"""How long pods of a deleted TrainJob may take to end; an arbitrary number, longer than a grace period."""
LOG_TIMEOUT_S = 10.0
"""How long to wait for the rest of a log once its pod has ended."""


class _Lost(Exception):
    """The TrainJob lost a node, or was deleted by others; never leaves this module."""


def finetune(
    job: JobSlice,
    *,
    datasets: Sequence[str],
    storage: str,
    nodes: NodesSlice,
    cluster: Cluster | None = None,
    poll_s: float = POLL_S,
) -> str:
    """Train `job` as a TrainJob and wait for its bundle, or find it done; SIGTERM deletes the TrainJob.

    Args:
        job: the model, the block's tasks and the seed.
        datasets: URIs of the ingested datasets that the tasks are asked of, in any order.
        storage: root of the run's storage.
        nodes: image and hardware.
        cluster: null connects to the step's own namespace.
        poll_s: between two looks at the TrainJob.

    Returns:
        The job's URI, as `training.job.finetune` returns it.

    Raises:
        TrainingError: the TrainJob failed, or its nodes were taken more often than the budget allows.
        ClusterError: the cluster cannot be reached, refuses, or has no Kubeflow Trainer.
    """
    with opened(datasets) as loaded:
        uri = job_uri(job, datasets=loaded, storage=storage)
    bundle = join(uri, "bundle")
    if is_complete(bundle):
        log.info("reused job=%s bundle=%s", job.name, bundle)
        return uri
    name = train_job_name(uri)
    wanted = new_train_job(name, job, datasets=datasets, storage=storage, nodes=nodes)
    with sigterm_as_exit():
        follow(cluster or connect(), wanted, preemptions=nodes.hardware.preemptions, poll_s=poll_s)
    if not is_complete(bundle):
        raise TrainingError(
            f"job {job.name}: TrainJob {name} ended well, but {bundle} is not complete; look at its pods' log above, "
            "and check that the image is of this version of taskmix"
        )
    log.info("trained job=%s train_job=%s", job.name, name)
    return uri


def follow(cluster: Cluster, wanted: Object, *, preemptions: int, poll_s: float) -> None:
    """Make the TrainJob, or adopt the one of its name, and see it through to its end.

    Args:
        cluster: where.
        wanted: the TrainJob.
        preemptions: how often it is made anew after its nodes were taken.
        poll_s: between two looks at it.

    Raises:
        TrainingError: it failed, or was disrupted more often.
    """
    name, lost = wanted["metadata"]["name"], 0
    while True:
        _make_or_adopt(cluster, wanted, poll_s=poll_s)
        try:
            _see_through(cluster, name, poll_s=poll_s)
        except _Lost as why:
            lost += 1
            if lost > preemptions:
                raise TrainingError(
                    f"TrainJob {name} in namespace {cluster.namespace}: {why}, {lost} times; "
                    f"hardware.preemptions allows {preemptions}. Its checkpoints are kept: run it again to go on, on "
                    "nodes that are not taken away, or allow more"
                ) from None
            log.warning("disrupted train_job=%s times=%d of %d reason=%s", name, lost, preemptions, why)
            _remove(cluster, name, poll_s=poll_s)
        except Exception:  # of this step: the TrainJob goes on, and the step's next attempt adopts it
            raise
        except BaseException:  # cancelled
            log.warning("cancelled: deleting train_job=%s", name)
            cluster.delete(TRAIN_JOB, name)
            raise
        else:
            cluster.delete(TRAIN_JOB, name)
            return


def _make_or_adopt(cluster: Cluster, wanted: Object, *, poll_s: float) -> None:
    name = wanted["metadata"]["name"]
    while True:
        try:
            cluster.create(TRAIN_JOB, wanted)
            log.info("made train_job=%s nodes=%d", name, wanted["spec"]["trainer"]["numNodes"])
            return
        except Conflict:
            existing = cluster.find(TRAIN_JOB, name)
        if existing is None:
            continue
        if find_state(existing)[0] == "running" and not existing["metadata"].get("deletionTimestamp"):
            log.info("adopted train_job=%s made=%s", name, existing["metadata"]["creationTimestamp"])
            return
        _remove(cluster, name, poll_s=poll_s)  # of an attempt before: its end says nothing of this one


def _remove(cluster: Cluster, name: str, *, poll_s: float) -> None:
    """Delete the TrainJob and wait until it is gone, pods and all: two at once would write the same checkpoints."""
    cluster.delete(TRAIN_JOB, name)
    deadline_s = time.monotonic() + GONE_TIMEOUT_S
    while cluster.find(TRAIN_JOB, name) or any(
        not has_ended(pod) for pod in cluster.list(POD, labels=pod_labels(name))
    ):
        if time.monotonic() > deadline_s:
            raise ClusterError(
                f"TrainJob {name} in namespace {cluster.namespace}: was deleted, but it or its pods are still there "
                f"after {GONE_TIMEOUT_S:.0f} s; look at their finalizers and nodes, then run this again"
            )
        time.sleep(poll_s)


def _see_through(cluster: Cluster, name: str, *, poll_s: float) -> None:
    """Wait for the end of the TrainJob, telling its pods' lines.

    Raises:
        _Lost: its nodes were taken, or it was deleted.
        TrainingError: it failed by its own fault.
    """
    followed = _Followed(cluster)
    while True:
        try:
            train_job = cluster.get(TRAIN_JOB, name)
        except Absent:
            raise _Lost("was deleted by others") from None
        pods = cluster.list(POD, labels=pod_labels(name))
        followed.look(pods)
        state, told = find_state(train_job)
        if state == "complete":
            followed.finish()
            return
        hopeless = state == "running" and is_hopeless(cluster, pod_labels(name))
        if state == "failed" or hopeless:
            followed.finish()
            if followed.disruption and not hopeless:
                raise _Lost(f"lost a node ({followed.disruption})")
            reasons = "".join(f"\n  {reason}" for reason in pod_reasons(cluster, pod_labels(name)))
            cluster.delete(TRAIN_JOB, name)
            raise TrainingError(
                f"TrainJob {name} in namespace {cluster.namespace}: failed: {told or 'its pods cannot start'}{reasons}"
            )
        time.sleep(poll_s)


@dataclass
class _Followed:
    """The pods of one TrainJob, seen so far: their logs as they write them, and whether a node was taken."""

    cluster: Cluster
    disruption: str = ""
    _running: dict[str, str] = field(default_factory=dict)
    _readers: dict[str, threading.Thread] = field(default_factory=dict)
    _waiting: set[str] = field(default_factory=set)

    def look(self, pods: Sequence[Object]) -> None:
        """Take note of the pods as they are now."""
        there = {pod["metadata"]["name"] for pod in pods}
        for gone, title in [(name, title) for name, title in self._running.items() if name not in there]:
            self.disruption = self.disruption or f"{title} is gone, with its node or by force"
            del self._running[gone]
        for pod in pods:
            name, title = pod["metadata"]["name"], pod_title(pod)
            if was_disrupted(pod):
                self.disruption = self.disruption or f"{title}: {_disruption(pod)}"
            if has_ended(pod):
                self._running.pop(name, None)
            elif has_begun(pod):
                self._running[name] = title
            if has_begun(pod) and name not in self._readers:
                self._readers[name] = threading.Thread(target=self._read, args=(name, title), daemon=True)
                self._readers[name].start()
            self._tell_waiting(pod)

    def finish(self) -> None:
        """Wait for what the logs still hold."""
        for reader in self._readers.values():
            reader.join(LOG_TIMEOUT_S)

    def _tell_waiting(self, pod: Object) -> None:
        for condition in pod.get("status", {}).get("conditions") or ():
            if condition["type"] == "PodScheduled" and condition["status"] == "False":
                told = f"{pod_title(pod)} waits for a node: {condition.get('message', condition.get('reason'))}"
                if told not in self._waiting:
                    self._waiting.add(told)
                    log.info(told)

    def _read(self, pod: str, title: str) -> None:
        try:
            with self.cluster.log_lines(pod) as lines:
                for line in lines:
                    log.info("%s | %s", title, line)
        except ClusterError as error:  # a log that cannot be read stops no training
            log.warning("%s | its log cannot be read: %s", title, error)


def _disruption(pod: Object) -> str:
    status = pod.get("status", {})
    for condition in status.get("conditions") or ():
        if condition["type"] == "DisruptionTarget":
            return str(condition.get("reason") or condition.get("message") or "disrupted")
    return str(status.get("reason"))
