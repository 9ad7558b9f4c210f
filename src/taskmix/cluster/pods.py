"""Why pods do not run, in one sentence each: what an object's own status seldom says."""

from __future__ import annotations

import contextlib

from taskmix.cluster.connection import Cluster, Object
from taskmix.cluster.kinds import POD
from taskmix.errors import ClusterError

LAST_LINES = 5
"""Lines of the log of a container that failed; an arbitrary number."""
HOPELESS = frozenset({"InvalidImageName", "CreateContainerConfigError", "ErrImageNeverPull"})
"""Reasons for which a container waits for good."""
RESTARTS = 3
"""A container that failed so often will fail again; an arbitrary number."""


def pod_reasons(cluster: Cluster, labels: str) -> list[str]:
    """A sentence on each pod that is not ready, with the last lines of containers that failed.

    Args:
        cluster: where the pods lie.
        labels: of the pods, in the words of a selector.
    """
    try:
        pods = cluster.list(POD, labels=labels)
    except ClusterError as error:
        return [f"why cannot be told: {error}"]
    if not pods:
        return [f"there is no pod with {labels}: the controller has made none yet, or a quota forbids it"]
    return [reason for pod in pods for reason in _reasons(cluster, pod)]


def is_hopeless(cluster: Cluster, labels: str) -> bool:
    """Whether a pod will not get ready however long one waits."""
    return any(
        state.get("waiting", {}).get("reason") in HOPELESS
        or (state.get("waiting", {}).get("reason") == "CrashLoopBackOff" and container["restartCount"] >= RESTARTS)
        for pod in cluster.list(POD, labels=labels)
        for container in _containers(pod)
        if (state := container.get("state") or {})
    )


def _containers(pod: Object) -> list[Object]:
    status = pod.get("status", {})
    return [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]


def _reasons(cluster: Cluster, pod: Object) -> list[str]:
    name, status = pod["metadata"]["name"], pod.get("status", {})
    if pod["metadata"].get("deletionTimestamp"):
        return []
    reasons = []
    for condition in status.get("conditions") or ():
        if condition["type"] in ("PodScheduled", "DisruptionTarget") and condition.get("reason"):
            reasons.append(f"pod {name}: {condition['reason']}: {condition.get('message', '')}".rstrip(": "))
    if status.get("reason"):
        reasons.append(f"pod {name}: {status['reason']}: {status.get('message', '')}".rstrip(": "))
    for container in _containers(pod):
        if (told := _told(container)) is not None:
            lines = _last_lines(cluster, name, container["name"]) if _failed(container) else ""
            reasons.append(f"pod {name}, container {container['name']}: {told}{lines}")
    return reasons


def _told(container: Object) -> str | None:
    """What a container's state says, or null if it runs or has done its work."""
    state, last = container.get("state") or {}, (container.get("lastState") or {}).get("terminated")
    if waiting := state.get("waiting"):
        told = f"{waiting.get('reason', 'waits')}: {waiting.get('message', '')}".rstrip(": ")
        return f"{told} (ended before with exit code {last['exitCode']})" if last else told
    ended = state.get("terminated")
    if ended and ended["exitCode"] != 0:
        told = f"{ended.get('reason', 'Error')} with exit code {ended['exitCode']}: {ended.get('message', '')}"
        return told.rstrip(": ")
    if "running" in state and not container.get("ready", True):
        return "runs, but is not ready"
    return None


def _failed(container: Object) -> bool:
    return bool(
        (container.get("state") or {}).get("terminated") or (container.get("lastState") or {}).get("terminated")
    )


def _last_lines(cluster: Cluster, pod: str, container: str) -> str:
    with contextlib.suppress(ClusterError):
        lines = cluster.log(pod, container=container, last_lines=LAST_LINES).splitlines()
        return "".join(f"\n    {line}" for line in lines)
    return ""
