"""Manifests: what they hold is right for a cluster, and what would be wrong in them is found."""

from __future__ import annotations

import copy
import re
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from manifest_check import ManifestCheck, containers

from taskmix.cluster.inference_service import PRE_STOP_S, TERMINATION_S
from taskmix.serving.server import GRACE_S

OVERLAYS = sorted(
    path.parent.name for path in Path(__file__).parents[2].glob("manifests/overlays/*/kustomization.yaml")
)
Build = Callable[[str], list[dict[str, Any]]]
ABSENT = object()
POD = "spec.template.spec.replicatedJobs.0.template.spec.template.spec"

BROKEN = {
    "a mistyped field of a custom resource": (
        "ServingRuntime/taskmix-server",
        "spec.supportedModelFormat",
        [{"name": "taskmix"}],
        r"spec: Additional properties .*'supportedModelFormat'",
    ),
    "a mistyped field of a built-in kind": (
        "NetworkPolicy/taskmix-serving",
        "spec.podSelectors",
        {},
        r"spec: Additional properties .*'podSelectors'",
    ),
    "a number where a string belongs": (
        "ServingRuntime/taskmix-server",
        "spec.containers.0.env.0.value",
        2,
        r"env\[0\]\.value: 2 is not of type 'string'",
    ),
    "a required field left out": ("ServingRuntime/taskmix-server", "spec.containers.0.name", ABSENT, "'name' is a req"),
    "an unknown version of a kind": (
        "ServingRuntime/taskmix-server",
        "apiVersion",
        "serving.kserve.io/v1beta1",
        "is serving.kserve.io/v1beta1 ServingRuntime, not",
    ),
    "a kind that is none": ("NetworkPolicy/taskmix-training", "kind", "NetworkPolice", "no schema of this kind"),
    "two policies of training": (
        "TrainingRuntime/taskmix-torch",
        "spec.mlPolicy.mpi",
        {"numProcPerNode": 1},
        "Only one of the policy can be configured",
    ),
    "no processes of a node": (
        "TrainingRuntime/taskmix-torch",
        "spec.mlPolicy",
        {"mpi": {"numProcPerNode": 0}},
        "NumProcPerNode in mpiPolicy must be >= 1",
    ),
    "a mistyped field deep in a pod": (
        "TrainingRuntime/taskmix-torch",
        f"{POD}.containers.0.envFrom.1",
        {"secretRefs": {"name": "s3"}},
        "'secretRefs' was unexpected",
    ),
    "a port out of range": (
        "NetworkPolicy/taskmix-serving",
        "spec.egress.0.ports.0.port",
        65536,
        "must be between 1 and 65535",
    ),
    "an address that is none": (
        "NetworkPolicy/taskmix-pipeline",
        "spec.egress.1.to.0.ipBlock.cidr",
        "0.0.0.0/33",
        "not a valid CIDR",
    ),
    "an operator without its values": (
        "NetworkPolicy/taskmix-serving",
        "spec.podSelector.matchExpressions.0.operator",
        "In",
        "must be specified when `operator` is 'In'",
    ),
    "a name with a capital": ("ServiceAccount/taskmix-serving", "metadata.name", "Serving", "metadata.name: 'Serving'"),
    "a label with a blank": ("Namespace/taskmix-dev", "metadata.labels.team", "two words", "labels.team: 'two words'"),
    "a subject of another namespace": (
        "RoleBinding/taskmix-pipeline",
        "subjects.0.namespace",
        "default",
        "no ServiceAccount taskmix-pipeline in namespace default",
    ),
    "a role that is not there": ("RoleBinding/taskmix-pipeline", "roleRef.name", "admin", "there is no Role admin"),
    "an account that is not there": (
        "TrainingRuntime/taskmix-torch",
        f"{POD}.serviceAccountName",
        "train",
        "there is no ServiceAccount train",
    ),
    "rights on everything": ("Role/taskmix-pipeline", "rules.3.verbs", ["*"], "allows everything of something"),
    "rights on every secret": ("Role/taskmix-pipeline", "rules.1.resourceNames", ABSENT, "allows to read every secret"),
    "a container that may write anywhere": (
        "ServingRuntime/taskmix-server",
        "spec.containers.0.securityContext.readOnlyRootFilesystem",
        False,
        "readOnlyRootFilesystem is False",
    ),
    "a container that runs as root": (
        "TrainingRuntime/taskmix-torch",
        f"{POD}.containers.0.securityContext.runAsNonRoot",
        ABSENT,
        "runAsNonRoot is None",
    ),
    "no room for temporary files": (
        "ServingRuntime/taskmix-server",
        "spec.containers.0.volumeMounts",
        [],
        "nothing is mounted at /tmp",
    ),
    "an endpoint with a scheme": (
        "ConfigMap/kfp-launcher",
        "data.providers",
        "s3: {default: {endpoint: 'https://s3.amazonaws.com', credentials: {fromEnv: true}}}",
        r"providers: \$\.s3\.default\.endpoint: 'https://s3",
    ),
    "an amount that is none": ("ResourceQuota/taskmix", "spec.hard.pods", "forty", "quantities must match"),
    "an object in another namespace": (
        "ConfigMap/kfp-launcher",
        "metadata.namespace",
        "kubeflow",
        "not the one namesp",
    ),
}
"""What is broken: the object and the path in it, what is put there, and what must be told."""


def broken(objects: list[dict[str, Any]], *, of: str, path: str, value: Any) -> list[dict[str, Any]]:
    """The objects, with one value replaced."""
    changed = copy.deepcopy(objects)
    (node,) = (each for each in changed if f"{each['kind']}/{each['metadata']['name']}" == of)
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    for part in parents:
        node = node[part]
    if value is ABSENT:
        del node[last]
    elif isinstance(node, list) and last == len(node):
        node.append(value)
    else:
        node[last] = value
    return changed


def test_no_overlay_is_left_out() -> None:
    assert OVERLAYS == ["dev", "prod"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_object_of_an_overlay_is_valid(overlay: str, build: Build, check: ManifestCheck) -> None:
    objects = build(overlay)

    assert len(objects) > 10
    assert check.violations(objects) == []


@pytest.mark.parametrize("variant", BROKEN)
def test_a_broken_manifest_is_refused(variant: str, build: Build, check: ManifestCheck) -> None:
    of, path, value, told = BROKEN[variant]

    found = check.violations(broken(build("dev"), of=of, path=path, value=value))

    assert any(re.search(told, violation) for violation in found), found


def test_images_of_production_are_pinned_by_digest(build: Build) -> None:
    images = {container["image"] for value in build("prod") for container in containers(value)}

    assert len(images) == 2
    assert all(re.fullmatch(r"[^@\s]+@sha256:[0-9a-f]{64}", image) for image in images)


def test_runtimes_are_the_ones_that_deployment_and_training_ask_for(build: Build) -> None:
    for overlay in OVERLAYS:
        runtimes = {value["metadata"]["name"]: value for value in build(overlay) if value["kind"].endswith("Runtime")}
        assert {"taskmix-server", "taskmix-torch"} <= runtimes.keys()
        assert runtimes["taskmix-server"]["spec"]["supportedModelFormats"][0]["name"] == "taskmix"


def test_kubernetes_waits_for_the_sleep_before_the_end_and_for_requests_in_flight(build: Build) -> None:
    for overlay in OVERLAYS:
        (server,) = (value for value in build(overlay) if value["kind"] == "ServingRuntime")
        (container,) = server["spec"]["containers"]
        assert container["lifecycle"]["preStop"]["exec"]["command"] == ["sleep", str(PRE_STOP_S)]
    assert TERMINATION_S >= PRE_STOP_S + GRACE_S + 5


def test_a_pool_has_a_runtime_of_its_own_with_its_placement(build: Build) -> None:
    runtimes = {value["metadata"]["name"]: value for value in build("prod") if value["kind"] == "TrainingRuntime"}
    pods = {
        name: value["spec"]["template"]["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
        for name, value in runtimes.items()
    }

    assert pods["taskmix-torch-h100"]["nodeSelector"] == {"pool": "h100"}
    assert "nodeSelector" not in pods["taskmix-torch"]
    assert pods["taskmix-torch-h100"]["containers"] == pods["taskmix-torch"]["containers"]


def test_development_takes_less_than_production(build: Build) -> None:
    limits = {}
    for overlay in OVERLAYS:
        (server,) = (value for value in build(overlay) if value["kind"] == "ServingRuntime")
        limits[overlay] = server["spec"]["containers"][0]["resources"]["limits"]

    assert limits == {"dev": {"cpu": "1", "memory": "2Gi"}, "prod": {"cpu": "2", "memory": "4Gi"}}


def test_secret_template_holds_no_values_and_becomes_a_valid_secret(project_root: Path, check: ManifestCheck) -> None:
    text = (project_root / "manifests/templates/s3-secret.yaml").read_text()
    template = yaml.safe_load(text)
    assert all(value.removeprefix("https://").startswith("${") for value in template["stringData"].values())
    names = {
        "S3_HOST": "minio:9000",
        "AWS_REGION": "eu-1",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "a/b+c",
    }

    secret = yaml.safe_load(string.Template(text).substitute(names))

    assert check.schemas["Secret"].violations(secret) == []
    assert secret["stringData"] == {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "a/b+c",
        "AWS_ENDPOINT_URL": "https://minio:9000",
        "AWS_REGION": "eu-1",
    }
    assert secret["metadata"]["annotations"]["serving.kserve.io/s3-endpoint"] == "minio:9000"


def test_accounts_and_the_launcher_name_the_secret_of_the_template(project_root: Path, build: Build) -> None:
    secret = yaml.safe_load((project_root / "manifests/templates/s3-secret.yaml").read_text())
    name, keys = secret["metadata"]["name"], secret["stringData"].keys()
    by_name = {f"{value['kind']}/{value['metadata']['name']}": value for value in build("prod")}
    launcher = yaml.safe_load(by_name["ConfigMap/kfp-launcher"]["data"]["providers"])["s3"]["default"]["credentials"]

    assert by_name["ServiceAccount/taskmix-serving"]["secrets"] == [{"name": name}]
    assert launcher["secretRef"]["secretName"] == name
    assert {launcher["secretRef"]["accessKeyKey"], launcher["secretRef"]["secretKeyKey"]} <= keys
