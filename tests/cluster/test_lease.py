from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest
from kube_api import KubeApi

from taskmix.cluster.connection import Cluster, connect
from taskmix.cluster.kinds import LEASE
from taskmix.cluster.lease import held
from taskmix.errors import Superseded

RACERS = 4


def test_of_racing_deployers_only_one_at_a_time_holds_the_lease(cluster: Cluster) -> None:
    spans: list[tuple[float, float]] = []

    def race() -> None:
        with held(connect(cluster.namespace), "raced", wait_s=60, length_s=5):
            began = time.monotonic()
            time.sleep(0.2)
            spans.append((began, time.monotonic()))

    with ThreadPoolExecutor(RACERS) as pool:
        for racer in [pool.submit(race) for _ in range(RACERS)]:
            racer.result(120)

    spans.sort()
    assert len(spans) == RACERS
    assert all(end <= begin for (_, end), (begin, _) in pairwise(spans))


def test_who_waits_too_long_is_told_who_deploys(cluster: Cluster) -> None:
    with (
        held(cluster, "busy", wait_s=5) as lease,
        pytest.raises(Superseded, match=rf"Lease busy in namespace .*{lease.holder} is deploying, and did not end"),
        held(cluster, "busy", wait_s=0.1),
    ):
        pass


def test_a_holder_that_died_is_followed_and_one_that_lives_is_not(cluster: Cluster) -> None:
    dead = {"holderIdentity": "dead", "leaseDurationSeconds": 1, "renewTime": "2020-01-01T00:00:00.000000Z"}
    meta = {"name": "left"}
    cluster.create(LEASE, {"apiVersion": LEASE.api_version, "kind": "Lease", "metadata": meta, "spec": dead})

    with held(cluster, "left", wait_s=30, length_s=1) as lease:
        with pytest.raises(Superseded), held(cluster, "left", wait_s=2.5, length_s=1):
            pass  # it was renewed all the time, though waited for longer than its length
        lease.check()

    assert cluster.get(LEASE, "left")["spec"].get("holderIdentity", "") == ""


def test_a_holder_that_was_overtaken_notices(cluster: Cluster) -> None:
    with held(cluster, "taken", wait_s=5) as lease:
        cluster.edit(LEASE, "taken", lambda value: {**value, "spec": {**value["spec"], "holderIdentity": "another"}})
        with pytest.raises(Superseded, match="is held by another now"):
            lease.check()

    assert cluster.get(LEASE, "taken")["spec"]["holderIdentity"] == "another"
    assert not [thread for thread in threading.enumerate() if thread.name == "lease taken"]


def test_the_lease_of_a_namespace_is_no_other_namespaces(cluster: Cluster, kube_api: KubeApi) -> None:
    with held(cluster, "same", wait_s=5), held(connect(kube_api.namespace()), "same", wait_s=5):
        pass
