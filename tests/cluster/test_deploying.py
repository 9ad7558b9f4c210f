"""Deployment against a real API server and real S3, with KServe's controller and pods played."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from crd_schema import CrdSchema
from deployed_release import WAYS, Deployed
from played_kserve import Fault, PlayedKServe, StrictCluster
from tiny_bundles import publish_bundle, publish_run

from taskmix import storage
from taskmix.cluster.connection import Cluster
from taskmix.cluster.deploying import Site, deploy, roll_back, verify
from taskmix.cluster.inference_service import DEPLOYER
from taskmix.cluster.kinds import DEPLOYMENT, INFERENCE_SERVICE
from taskmix.errors import ClusterError, RolledBack, RolloutFailed, ServingError, Superseded
from taskmix.serving.assembly import assemble
from taskmix.serving.releases import champion, promote

GPU = {
    "gpus": 1,
    "cpus": 1.5,
    "memory_gib": 8,
    "node_selector": {"pool": "l4"},
    "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
    "image_pull_secrets": ["registry"],
    "priority_class": "serving",
}


@pytest.fixture(scope="module")
def root(module_swift: Any) -> str:
    """Three runs, and `run-wrong`, whose bundle is not the one that was evaluated."""
    uri = str(module_swift.uri)
    for seed, run in enumerate(("run-1", "run-2", "run-3", "run-wrong"), start=1):
        publish_run(uri, run=run, seed=seed)
    record_uri = f"{uri}/runs/run-wrong/systems/tiny.merged.json"
    record = storage.read_json(record_uri)
    other = publish_bundle(f"{uri}/another/bundle", seed=99)
    record["bundles"][0] |= {"uri": f"{uri}/another/bundle", "manifest": other.sha256}
    storage.write_json(record_uri, record, replace=True)
    return uri


@pytest.fixture
def deployed(root: str, kserve: PlayedKServe, cluster: Cluster, crd_schemas: dict[str, CrdSchema]) -> Deployed:
    strict = StrictCluster(cluster.api, cluster.namespace)
    StrictCluster.schemas = crd_schemas
    return Deployed(root, kserve, strict)


def test_a_first_release_is_served_from_its_folder_on_the_hardware_named(deployed: Deployed) -> None:
    release = deployed.stage("run-1")

    uri = deployed.deploy(
        release, hardware=GPU, service_account="reader", replicas={"min": 0, "max": 4}, canary_percent=20
    )

    assert deployed.service is not None
    predictor = deployed.service["spec"]["predictor"]
    folder = f"{deployed.root}/deployments/{deployed.name}/releases/run-1/"
    quantities = {"cpu": "1500m", "memory": "8Gi", "nvidia.com/gpu": "1"}
    assert predictor["model"]["storageUri"] == folder
    assert (predictor["model"]["modelFormat"]["name"], predictor["model"]["runtime"]) == ("taskmix", "taskmix-server")
    assert predictor["model"]["resources"] == {"requests": quantities, "limits": quantities}
    assert (predictor["minReplicas"], predictor["maxReplicas"]) == (1, 4)  # Standard mode cannot scale to zero
    assert predictor["terminationGracePeriodSeconds"] == 45
    assert predictor["nodeSelector"] == {"pool": "l4"}
    assert predictor["tolerations"] == GPU["tolerations"]
    assert (predictor["serviceAccountName"], predictor["priorityClassName"]) == ("reader", "serving")
    assert predictor["imagePullSecrets"] == [{"name": "registry"}]
    served = storage.read_json(uri)["served"]
    assert (served["namespace"], served["mode"], served["storage_uri"]) == (
        deployed.cluster.namespace,
        "Standard",
        folder,
    )
    assert deployed.deploy(release, hardware=GPU, service_account="reader", replicas={"min": 0, "max": 4}) == uri
    assert deployed.kserve.seen == [{"run-1": 100}]


@pytest.mark.parametrize("way", ["entries", "knative"])
def test_the_champion_can_be_served_in_another_way(deployed: Deployed, way: str) -> None:
    deployed.way = way
    release = deployed.stage("run-1")
    deployed.deploy(release)

    deployed.deploy(release, hardware={"cpus": 3}, canary_percent=0)

    assert deployed.service is not None
    predictor = deployed.service["spec"]["predictor"]
    assert predictor["model"]["resources"]["limits"] == {"cpu": "3"}
    assert ("terminationGracePeriodSeconds" in predictor) == (way == "entries")
    assert all(shares.keys() == {"run-1"} for shares in deployed.kserve.seen)
    assert deployed.served_run == "run-1"


@pytest.mark.parametrize("way", WAYS)
def test_a_second_release_is_a_canary_first_and_then_all(deployed: Deployed, way: str) -> None:
    deployed.way = way
    deployed.deploy(deployed.stage("run-1"))
    workloads = {each["metadata"]["name"] for each in deployed.cluster.list(DEPLOYMENT)}

    deployed.deploy(deployed.stage("run-2"), canary_percent=25)

    tested_without_users = [{"run-2": 100}]  # the candidate, a service of its own
    shared = tested_without_users if way == "candidate" else [{"run-1": 100, "run-2": 25}]
    assert deployed.kserve.seen == [{"run-1": 100}, *shared, {"run-2": 100}][: 2 if way == "candidate" else 3]
    assert deployed.served_run == "run-2"
    assert champion(deployed.root, deployed.name)["previous"]["run"] == "run-1"
    assert len(deployed.cluster.list(INFERENCE_SERVICE)) == 1
    if way == "entries":  # the canary's Deployment became the only one: no pod was started for promoting it
        (left,) = deployed.cluster.list(DEPLOYMENT)
        assert left["metadata"]["name"] not in workloads
        assert left["metadata"]["generation"] == 1


@pytest.mark.parametrize(
    ("way", "fault", "told"),
    [
        ("entries", "fails to load", r"BlockedByFailedLoad \(ModelLoadFailed: the bundle is corrupt\)(.|\n)*CrashLoop"),
        ("knative", "fails to load", r"BlockedByFailedLoad \(ModelLoadFailed: the bundle is corrupt\)(.|\n)*CrashLoop"),
        ("entries", "never scheduled", r"not ready after 2 s(.|\n)*Unschedulable: 0/3 nodes: Insufficient gpu"),
        ("candidate", "not told", r"not ready after 2 s(.|\n)*there is no pod with app=isvc\..*-candidate-predictor"),
    ],
)
def test_a_release_that_does_not_get_ready_is_taken_back(deployed: Deployed, way: str, fault: Fault, told: str) -> None:
    deployed.way = way
    deployed.deploy(deployed.stage("run-1"))
    assert deployed.service is not None
    before = deployed.service["spec"]
    deployed.kserve.faults["/run-2/"] = fault

    with pytest.raises(RolloutFailed, match=told):
        deployed.deploy(deployed.stage("run-2"), ready_timeout_s=20 if fault == "fails to load" else 2)

    assert deployed.service is not None
    assert deployed.service["spec"] == before
    assert deployed.served_run == "run-1"
    assert [each["metadata"]["name"] for each in deployed.cluster.list(INFERENCE_SERVICE)] == [deployed.name]
    assert not any(shares.get("run-2") for shares in deployed.kserve.seen)


@pytest.mark.parametrize("way", ["entries", "knative"])
def test_a_release_that_answers_otherwise_than_evaluated_is_taken_back(deployed: Deployed, way: str) -> None:
    deployed.way = way
    deployed.deploy(deployed.stage("run-1"))

    with pytest.raises(ServingError, match=r"answers otherwise than it was evaluated, in \d+ of \d+ answers"):
        deployed.deploy(deployed.stage("run-wrong"), canary_percent=0)

    assert deployed.service is not None
    assert "run-1" in deployed.service["spec"]["predictor"]["model"]["storageUri"]
    assert "canaryTrafficPercent" not in deployed.service["spec"]["predictor"]
    assert deployed.served_run == "run-1"
    assert not any(shares.get("run-wrong") for shares in deployed.kserve.seen)


def test_a_first_release_that_fails_leaves_nothing(deployed: Deployed) -> None:
    deployed.kserve.faults["/run-1/"] = "fails to load"

    with pytest.raises(RolloutFailed):
        deployed.deploy(deployed.stage("run-1"))

    assert deployed.service is None
    assert deployed.served_run is None


def test_of_racing_deployers_one_promotes_and_the_others_are_told(deployed: Deployed) -> None:
    deployed.deploy(deployed.stage("run-1"))
    racing = [deployed.stage(run) for run in ("run-2", "run-3")]
    start = threading.Barrier(len(racing))

    def race(release: str) -> str:
        start.wait()
        try:
            deployed.deploy(release)
        except Superseded as error:
            return str(error)
        return "promoted"

    with ThreadPoolExecutor(len(racing)) as pool:
        results = list(pool.map(race, racing))

    winner = racing[results.index("promoted")]
    (loser,) = (result for result in results if result != "promoted")
    assert "the gate compared it with the champion of run run-1, but the champion now is that of run" in loser
    assert champion(deployed.root, deployed.name)["release"] == winner
    assert champion(deployed.root, deployed.name)["previous"]["run"] == "run-1"
    assert deployed.service is not None
    assert deployed.served_run in deployed.service["spec"]["predictor"]["model"]["storageUri"]


def when_canary(deployed: Deployed, act: Callable[[], object]) -> threading.Thread:
    """Do something as soon as a canary is there."""

    def wait() -> None:
        deadline_s = time.monotonic() + 30
        while time.monotonic() < deadline_s:
            service = deployed.service
            if service is not None and service["spec"].get("canary"):
                act()
                return
            time.sleep(0.02)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_a_service_that_is_deleted_in_between_is_told(deployed: Deployed) -> None:
    deployed.deploy(deployed.stage("run-1"))
    deployed.kserve.faults["/run-2/"] = "not told"
    acting = when_canary(deployed, lambda: deployed.cluster.delete(INFERENCE_SERVICE, deployed.name))

    with pytest.raises(
        ClusterError, match=rf'get InferenceService {deployed.name}: is not there \(.*"{deployed.name}"'
    ):
        deployed.deploy(deployed.stage("run-2"))

    acting.join()
    assert deployed.served_run == "run-1"


def test_a_deployer_that_was_overtaken_changes_nothing_more(deployed: Deployed) -> None:
    deployed.deploy(deployed.stage("run-1"))
    cluster = Cluster(deployed.cluster.api, deployed.cluster.namespace)

    def take(service: dict[str, Any]) -> dict[str, Any]:
        service["metadata"]["annotations"][DEPLOYER] = "another"
        return service

    acting = when_canary(deployed, lambda: cluster.edit(INFERENCE_SERVICE, deployed.name, take))
    with pytest.raises(Superseded, match="is being deployed by another, which has overtaken this run"):
        deployed.deploy(deployed.stage("run-2"), canary_s=3)

    acting.join()
    assert deployed.service is not None
    assert [entry["trafficPercent"] for entry in deployed.service["spec"]["canary"]] == [10]
    assert deployed.served_run == "run-1"


def test_what_a_killed_deployer_left_is_not_taken_for_the_champion(deployed: Deployed) -> None:
    deployed.way = "knative"
    deployed.deploy(deployed.stage("run-1"))
    left = deployed.stage("run-2")
    interrupt = threading.Event()

    class Killed(StrictCluster):
        def get(self, kind: Any, name: str) -> dict[str, Any]:
            value = super().get(kind, name)
            if kind == INFERENCE_SERVICE and "canaryTrafficPercent" in value["spec"]["predictor"]:
                interrupt.set()
            if interrupt.is_set():
                raise ConnectionAbortedError("killed: not even taking back works any more")
            return value

    dying = Site(Killed(deployed.cluster.api, deployed.cluster.namespace), WAYS["knative"], poll_s=0.1)
    with pytest.raises(ConnectionAbortedError):
        deploy(left, deployed.settings(), site=dying)
    assert deployed.service is not None
    assert "run-2" in deployed.service["spec"]["predictor"]["model"]["storageUri"]
    deployed.kserve.faults["/run-3/"] = "fails to load"

    with pytest.raises(RolloutFailed):
        deployed.deploy(deployed.stage("run-3"))

    assert deployed.service is not None
    assert "run-1" in deployed.service["spec"]["predictor"]["model"]["storageUri"]


def test_a_rollback_returns_to_the_champion_before(deployed: Deployed) -> None:
    for run in ("run-1", "run-2"):
        deployed.deploy(deployed.stage(run))

    roll_back(deployed.root, deployed.settings(), site=deployed.site)

    assert deployed.served_run == "run-1"
    assert deployed.kserve.seen[-1] == {"run-1": 100}
    service = deployed.service
    with pytest.raises(RolledBack, match=r"run-2\.json: is made of the same bundles as tiny/merged of run run-2"):
        deployed.deploy(deployed.stage("run-2"))
    assert deployed.service == service

    deploy(deployed.stage("run-2"), deployed.settings(), site=deployed.site, again=True)

    assert deployed.served_run == "run-2"
    (rollback,) = champion(deployed.root, deployed.name)["rollbacks"]
    assert rollback["release"].endswith("/history/run-2.json")
    assert rollback["overruled"]["by"] == rollback["done"]["by"]


def test_what_is_served_is_verified_and_left_alone(deployed: Deployed, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="taskmix")
    releases = [deployed.stage("run-1")]
    deployed.deploy(releases[0])
    releases.append(deployed.stage("run-2"))
    deployed.deploy(releases[1])
    before = deployed.service

    verify(releases[1], deployed.settings(), site=deployed.site)
    verify(releases[0], deployed.settings(), site=deployed.site)  # the smoke test of a run that was overtaken

    assert deployed.service == before
    assert f"not verified release={releases[0]}: it is not the champion any more" in caplog.text


def test_a_service_that_does_not_serve_the_champion_fails_its_verification(deployed: Deployed) -> None:
    deployed.way = "candidate"  # where a predictor is not named after its release
    release = deployed.stage("run-1")
    deployed.deploy(release)
    cluster = Cluster(deployed.cluster.api, deployed.cluster.namespace)

    def serve(run: str) -> None:
        def change(service: dict[str, Any]) -> dict[str, Any]:
            service["spec"]["predictor"]["model"]["storageUri"] = assemble(deployed.stage(run))
            return service

        cluster.edit(INFERENCE_SERVICE, deployed.name, change)  # by hand, past every check

    serve("run-2")
    with pytest.raises(RolloutFailed, match=r"no address answered as the release within 2 s: .* serves the bundles"):
        verify(release, deployed.settings(ready_timeout_s=2), site=deployed.site)

    serve("run-wrong")
    promote(wrong := deployed.stage("run-wrong"))
    with pytest.raises(ServingError, match=r"answers otherwise than it was evaluated, in \d+ of \d+ answers"):
        verify(wrong, deployed.settings(), site=deployed.site)


def test_a_missing_permission_is_told_before_anything_is_changed(
    deployed: Deployed, restricted: Callable[..., Cluster]
) -> None:
    lock = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "create", "update"]}
    look = {"apiGroups": ["serving.kserve.io"], "resources": ["inferenceservices"], "verbs": ["get"]}
    site = Site(restricted([lock, look]), WAYS["entries"], poll_s=0.1)

    with pytest.raises(ClusterError, match=r"grant 'create' on 'inferenceservices' of API group 'serving\.kserve\.io'"):
        deploy(deployed.stage("run-1"), deployed.settings(), site=site)

    assert deployed.served_run is None


def test_storage_or_a_name_that_a_cluster_cannot_use_is_refused(deployed: Deployed) -> None:
    with pytest.raises(ClusterError, match="lies in a folder of this machine, which a cluster's pods do not share"):
        deploy("/tmp/deployments/d/history/run-1.json", deployed.settings())
    with pytest.raises(ClusterError, match=r"deployment\.name: 'My_Model' cannot be the name of an InferenceService"):
        deploy("s3://b/deployments/d/history/run-1.json", deployed.settings(name="My_Model"))
