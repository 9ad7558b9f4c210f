"""The lock between deployers: a Kubernetes Lease that its holder renews.

Only one run at a time may change a deployment; another waits. A holder that died is followed once its lease has not
been renewed for its whole length, by the waiter's own clock, so that clocks need not agree. What a holder does after it
has lost the lease unknowingly is stopped elsewhere: the InferenceService names the deployer who may change it.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from taskmix.cluster.connection import Cluster, Object
from taskmix.cluster.kinds import LEASE
from taskmix.errors import Absent, ClusterError, Conflict, Superseded

log = logging.getLogger(__name__)

LENGTH_S = 30.0
"""How long a lease holds without renewal; an arbitrary number, long enough for an API server to restart."""
RENEWALS = 3
"""Times that it is renewed within its length."""


@dataclass
class Lease:
    """A lease that is held.

    Attributes:
        cluster: where it lies.
        name: of the object.
        holder: who holds it: this process, by a name that no other has.
        length_s: how long it holds without renewal.
    """

    cluster: Cluster
    name: str
    holder: str
    length_s: float

    def check(self) -> None:
        """Make sure that the lease is still ours: renews it.

        Raises:
            Superseded: another has it.
            ClusterError: the cluster cannot be asked.
        """

        def renewed(value: Object) -> Object:
            if _holder(value) != self.holder:
                raise Superseded(
                    f"Lease {self.name} in namespace {self.cluster.namespace}: is held by {_holder(value) or 'nobody'} "
                    "now, this run was too slow or too long cut off to renew it; nothing more is changed, run it again"
                )
            return {**value, "spec": {**value["spec"], "renewTime": _now()}}

        try:
            self.cluster.edit(LEASE, self.name, renewed)
        except Absent:
            raise Superseded(
                f"Lease {self.name} in namespace {self.cluster.namespace}: was deleted; run it again"
            ) from None

    def _keep(self, stopped: threading.Event) -> None:
        while not stopped.wait(self.length_s / RENEWALS):
            try:
                self.check()
            except Superseded as error:
                log.warning("lost lease=%s reason=%s", self.name, error)
                return
            except ClusterError as error:
                log.warning("not renewed lease=%s reason=%s", self.name, error)


@contextmanager
def held(cluster: Cluster, name: str, *, wait_s: float, length_s: float = LENGTH_S) -> Iterator[Lease]:
    """Hold the lease while the block lasts.

    Args:
        cluster: where the Lease lies.
        name: of the Lease.
        wait_s: how long to wait for another holder to end.
        length_s: how long it holds without renewal.

    Raises:
        Superseded: another holder did not end in time.
    """
    holder = f"{socket.gethostname()}-{os.getpid()}-{os.urandom(4).hex()}"
    _acquire(cluster, name, holder=holder, wait_s=wait_s, length_s=length_s)
    lease, stopped = Lease(cluster, name, holder, length_s), threading.Event()
    keeper = threading.Thread(target=lease._keep, args=(stopped,), name=f"lease {name}", daemon=True)
    keeper.start()
    try:
        yield lease
    finally:
        stopped.set()
        keeper.join(length_s)
        _release(lease)


def _acquire(cluster: Cluster, name: str, *, holder: str, wait_s: float, length_s: float) -> None:
    deadline_s, seen, since_s = time.monotonic() + wait_s, "", time.monotonic()
    while True:
        value = cluster.find(LEASE, name)
        if value is None or not _holder(value):
            if _take(cluster, name, value, holder=holder, length_s=length_s):
                return
            continue
        if value["metadata"]["resourceVersion"] != seen:
            if not seen:
                log.info("waiting for lease=%s holder=%s", name, _holder(value))
            seen, since_s = value["metadata"]["resourceVersion"], time.monotonic()
        elif time.monotonic() - since_s > (value["spec"].get("leaseDurationSeconds") or length_s):
            log.warning("taking lease=%s from=%s, which has not renewed it", name, _holder(value))
            if _take(cluster, name, value, holder=holder, length_s=length_s):
                return
        if time.monotonic() > deadline_s:
            raise Superseded(
                f"Lease {name} in namespace {cluster.namespace}: {_holder(value)} is deploying, and did not end in "
                f"{wait_s:.0f} s; wait for it, then run this again"
            )
        time.sleep(min(1.0, length_s / 10))


def _take(cluster: Cluster, name: str, value: Object | None, *, holder: str, length_s: float) -> bool:
    """Whether the lease is ours now: the API server lets only one of several win."""
    now = _now()
    times = {"leaseDurationSeconds": max(1, round(length_s)), "acquireTime": now, "renewTime": now}
    spec = {"holderIdentity": holder, **times}
    try:
        if value is None:
            meta = {"name": name}
            cluster.create(LEASE, {"apiVersion": LEASE.api_version, "kind": LEASE.name, "metadata": meta, "spec": spec})
        else:
            cluster.replace(LEASE, {**value, "spec": spec})
    except (Conflict, Absent):
        return False
    return True


def _release(lease: Lease) -> None:
    def freed(value: Object) -> Object:
        if _holder(value) != lease.holder:
            raise Superseded("held by another")
        return {**value, "spec": {**value["spec"], "holderIdentity": "", "renewTime": _now()}}

    try:
        lease.cluster.edit(LEASE, lease.name, freed)
    except (Superseded, ClusterError) as error:
        log.info("not released lease=%s reason=%s", lease.name, error)


def _holder(value: Object) -> str:
    return str(value.get("spec", {}).get("holderIdentity") or "")


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
