from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from kube_api import KubeApi

from taskmix.cluster.abilities import Abilities, find_abilities
from taskmix.cluster.connection import Cluster, Object, connect
from taskmix.cluster.kinds import INFERENCE_SERVICE, LEASE, POD, TRAIN_JOB, Kind
from taskmix.errors import Absent, ClusterError, Conflict


def lease(name: str = "one", holder: str = "a") -> Object:
    spec = {"holderIdentity": holder}
    return {"apiVersion": LEASE.api_version, "kind": LEASE.name, "metadata": {"name": name}, "spec": spec}


def pod(name: str) -> Object:
    spec = {"containers": [{"name": "main", "image": "none"}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}, "spec": spec}


def write_kubeconfig(path: Path, of: Path, **cluster: Any) -> Path:
    value = yaml.safe_load(of.read_text())
    value["clusters"][0]["cluster"].update(cluster)
    path.write_text(yaml.safe_dump(value))
    return path


def test_objects_are_made_read_listed_changed_and_deleted(cluster: Cluster) -> None:
    cluster.create(POD, pod("a"))
    cluster.create(POD, pod("b"))

    changed = cluster.edit(POD, "a", lambda value: {**value, "metadata": {**value["metadata"], "labels": {"app": "c"}}})

    assert changed["metadata"]["labels"] == {"app": "c"}
    assert [each["metadata"]["name"] for each in cluster.list(POD, labels="app=c")] == ["a"]
    cluster.delete(LEASE, "never-there")
    assert cluster.find(LEASE, "never-there") is None


def test_a_change_between_reading_and_writing_is_a_conflict_and_an_edit_begins_anew(cluster: Cluster) -> None:
    old = cluster.create(LEASE, lease())
    meanwhile = iter(["b"])

    def change(value: Object) -> Object:
        for holder in meanwhile:  # somebody else writes, the first time
            cluster.replace(LEASE, {**value, "spec": {"holderIdentity": holder}})
        return {**value, "spec": {"holderIdentity": value["spec"]["holderIdentity"] + "+ours"}}

    assert cluster.edit(LEASE, "one", change)["spec"]["holderIdentity"] == "b+ours"
    with pytest.raises(Conflict, match=r"update Lease one: .*the object has been modified"):
        cluster.replace(LEASE, old)
    with pytest.raises(Conflict, match="already exists"):
        cluster.create(LEASE, lease())


def test_what_was_deleted_in_between_is_told(cluster: Cluster) -> None:
    with pytest.raises(Absent, match=r"get Lease gone: is not there \(leases.coordination.k8s.io \"gone\" not found\)"):
        cluster.edit(LEASE, "gone", lambda value: value)


def test_a_missing_permission_is_named(restricted: Callable[..., Cluster]) -> None:
    with pytest.raises(ClusterError, match=r"not permitted \(403\).*grant 'get' on 'leases' of API group"):
        restricted().get(LEASE, "one")


def test_a_kind_that_the_cluster_lacks_is_told(cluster: Cluster) -> None:
    unknown = Kind("trainer.kubeflow.org/v9", "TrainJob", "trainjobs", "Kubeflow Trainer v2")
    with pytest.raises(ClusterError, match=r"knows no TrainJob .*: Kubeflow Trainer v2 is not installed"):
        cluster.get(unknown, "one")


def test_an_object_that_breaks_its_schema_is_refused_with_the_reason(cluster: Cluster) -> None:
    value = {"apiVersion": TRAIN_JOB.api_version, "kind": "TrainJob", "metadata": {"name": "x"}, "spec": {"trainer": 3}}
    with pytest.raises(ClusterError, match=r"refused \(422\): .*spec.trainer"):
        cluster.create(TRAIN_JOB, value)


def test_wrong_credentials_are_told(kube_api: KubeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_kubeconfig(tmp_path / "config", kube_api.kubeconfig)
    value = yaml.safe_load(path.read_text())
    value["users"][0]["user"]["token"] = "expired"
    path.write_text(yaml.safe_dump(value))
    monkeypatch.setenv("KUBECONFIG", str(path))
    with pytest.raises(ClusterError, match=r"credentials are not accepted \(401\); log in again"):
        connect("default").get(LEASE, "one")


def test_no_cluster_is_told(kube_api: KubeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "absent"))
    with pytest.raises(ClusterError, match=r"no cluster: .*name a kubeconfig in KUBECONFIG"):
        connect()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        closed = taken.getsockname()[1]
    config = write_kubeconfig(tmp_path / "config", kube_api.kubeconfig, server=f"https://127.0.0.1:{closed}")
    monkeypatch.setenv("KUBECONFIG", str(config))
    with pytest.raises(ClusterError, match=rf"https://127.0.0.1:{closed}.*: the API server cannot be reached"):
        connect().create(LEASE, lease())


def published_abilities(cluster: Cluster) -> Abilities:
    """What the API server publishes, once it does: this one takes some seconds after a CRD was loaded."""
    deadline_s = time.monotonic() + 120
    while time.monotonic() < deadline_s:
        with contextlib.suppress(ClusterError):
            return find_abilities(cluster)
        time.sleep(1)
    return find_abilities(cluster)


def test_the_abilities_of_kserve_are_read_without_a_permission(restricted: Callable[..., Cluster]) -> None:
    abilities = published_abilities(restricted())

    assert (abilities.knative, abilities.canary_entries, abilities.new_mode_names) == (False, True, True)


def test_an_inference_service_that_is_absent_is_null(cluster: Cluster) -> None:
    assert cluster.find(INFERENCE_SERVICE, "none") is None
