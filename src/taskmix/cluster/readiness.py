"""When a release on the cluster is ready, and why it is not: read from status, Deployment and pods.

`Ready` alone says too little: in Standard mode it stays true on the old pods while a rollout goes wrong. So the
controller must have seen this generation, and the Deployment must be rolled out (or the revision be the newest). What
the server itself says of its version, `asking` asks.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from taskmix.cluster.connection import Cluster, Object
from taskmix.cluster.inference_service import Way, workload_name
from taskmix.cluster.kinds import DEPLOYMENT, INFERENCE_SERVICE
from taskmix.cluster.pods import is_hopeless, pod_reasons
from taskmix.errors import RolloutFailed

SERVICE_LABEL = "serving.kserve.io/inferenceservice"
HOPELESS_STATES = frozenset({"BlockedByFailedLoad", "InvalidSpec"})


@dataclass(frozen=True)
class Target:
    """What must get ready.

    Attributes:
        cluster: where it is.
        name: of the InferenceService.
        way: how it was let in, or null where it is all that the InferenceService serves.
        variant: the name of its predictor, where predictors have names.
        knative: it is a revision, not a Deployment.
    """

    cluster: Cluster
    name: str
    way: Way | None
    variant: str | None
    knative: bool

    @property
    def workload(self) -> str:
        """Name of its Deployment and Service (Standard mode)."""
        return workload_name(self.name, self.variant)


@dataclass(frozen=True)
class Progress:
    """How far it has come.

    Attributes:
        waits_for: what is not yet as it must be; empty when it is ready.
        failed: waiting longer is no use.
        seen: the controller works on what is wanted; before that, the pods are those of something else.
    """

    waits_for: str = ""
    failed: bool = False
    seen: bool = True


@dataclass(frozen=True)
class Patience:
    """How long to wait, and how often to look.

    Attributes:
        timeout_s: in all.
        poll_s: between two looks.
        check: called at each look; raises to stop.
    """

    timeout_s: float
    poll_s: float = 2.0
    check: Callable[[], object] = lambda: None


def wait_until_ready(target: Target, patience: Patience) -> Object:
    """Wait until the cluster says that all of it is ready.

    Returns:
        The InferenceService as it is then.

    Raises:
        RolloutFailed: it cannot get ready, or did not in time; tells what it waited for, and the pods' reasons.
        Absent: the InferenceService was deleted.
    """
    deadline_s = time.monotonic() + patience.timeout_s
    while True:
        patience.check()
        service = target.cluster.get(INFERENCE_SERVICE, target.name)
        progress = find_progress(target, service)
        if not progress.waits_for:
            return service
        late = time.monotonic() > deadline_s
        hopeless = progress.seen and is_hopeless(target.cluster, _pod_labels(target, service))
        if late or progress.failed or hopeless:
            reasons = pod_reasons(target.cluster, _pod_labels(target, service))
            why = f"was not ready after {patience.timeout_s:.0f} s, waiting for" if late else "cannot get ready:"
            raise RolloutFailed(
                f"InferenceService {target.name} in namespace {target.cluster.namespace}: {why} {progress.waits_for}"
                + "".join(f"\n  {reason}" for reason in reasons)
            )
        time.sleep(patience.poll_s)


def find_progress(target: Target, service: Object) -> Progress:
    """How far the target has come, by the InferenceService's status and, in Standard mode, its Deployment's."""
    status, generation = service.get("status", {}), service["metadata"]["generation"]
    if (status.get("observedGeneration") or 0) < generation:
        saw = status.get("observedGeneration")
        return Progress(f"KServe's controller to see generation {generation} (it saw {saw})", seen=False)
    if target.way == "entries":
        progress = _canary_progress(target, status)
    else:
        progress = _model_progress(status.get("modelStatus", {}))
        if not progress.waits_for and not _is_ready(status):
            progress = Progress(f"its conditions: {_unready_conditions(status)}")
    if progress.waits_for:
        return progress
    if target.knative:
        return _revision_progress(status)
    deployment = target.cluster.find(DEPLOYMENT, target.workload)
    if deployment is None:
        return Progress(f"Deployment {target.workload}, which is not there yet")
    return _deployment_progress(deployment)


def _model_progress(model: Object) -> Progress:
    transition = model.get("transitionStatus", "UpToDate")
    if transition in ("UpToDate", ""):
        return Progress()
    info = model.get("lastFailureInfo", {})
    told = ": ".join(str(info[key]) for key in ("reason", "message") if info.get(key))
    return Progress(f"the model, which is {transition}" + (f" ({told})" if told else ""), transition in HOPELESS_STATES)


def _canary_progress(target: Target, status: Object) -> Progress:
    for entry in status.get("canaryStatuses") or ():
        if entry.get("name") == target.variant:
            progress = _model_progress(entry.get("modelStatus") or {})
            if progress.waits_for or entry.get("ready"):
                return progress
    return Progress(f"the canary {target.variant}")


def _is_ready(status: Object) -> bool:
    return any(each["type"] == "Ready" and each["status"] == "True" for each in status.get("conditions") or ())


def _unready_conditions(status: Object) -> str:
    unready = [each for each in status.get("conditions") or () if each["status"] != "True"]
    told = [": ".join(filter(None, (each["type"], each.get("reason"), each.get("message")))) for each in unready]
    return "; ".join(told) or "Ready, which is not told yet"


def _revision_progress(status: Object) -> Progress:
    component = status.get("components", {}).get("predictor", {})
    created, ready = component.get("latestCreatedRevision"), component.get("latestReadyRevision")
    return Progress() if created and created == ready else Progress(f"revision {created} (ready is {ready})")


def _deployment_progress(deployment: Object) -> Progress:
    name, status = deployment["metadata"]["name"], deployment.get("status", {})
    wanted = deployment.get("spec", {}).get("replicas", 1)
    if (status.get("observedGeneration") or 0) < deployment["metadata"]["generation"]:
        return Progress(f"Deployment {name} to be seen by its controller", seen=False)
    for condition in status.get("conditions") or ():
        if condition.get("reason") == "ProgressDeadlineExceeded":
            return Progress(
                f"Deployment {name}: {condition.get('message', 'its rollout does not proceed')}", failed=True
            )
    updated, available = status.get("updatedReplicas") or 0, status.get("availableReplicas") or 0
    if updated < wanted or available < wanted or (status.get("replicas") or 0) > updated:
        return Progress(f"Deployment {name}: {updated} of {wanted} replicas are of this version, {available} available")
    return Progress()


def _pod_labels(target: Target, service: Object) -> str:
    if not target.knative:
        return f"app=isvc.{target.workload}"
    revision = service.get("status", {}).get("components", {}).get("predictor", {}).get("latestCreatedRevision")
    return (
        f"serving.knative.dev/revision={revision}" if revision else f"serving.kserve.io/inferenceservice={target.name}"
    )
