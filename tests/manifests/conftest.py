"""Overlays as kustomize builds them, applied to a real API server."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from crd_schema import CrdSchema
from kube_api import KubeApi
from manifest_check import ManifestCheck, make_check

OVERLAYS = sorted(
    path.parent.name for path in Path(__file__).parents[2].glob("manifests/overlays/*/kustomization.yaml")
)
Build = Callable[[str], list[dict[str, Any]]]


@pytest.fixture(scope="session")
def build(project_root: Path) -> Build:
    """Overlay's name to its objects; without any network."""
    if not shutil.which("kubectl"):
        pytest.skip("kubectl, whose `kustomize` builds the manifests, is not installed")

    @cache
    def built(overlay: str) -> list[dict[str, Any]]:
        command = ["kubectl", "kustomize", str(project_root / "manifests/overlays" / overlay)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert "deprecated" not in done.stderr, done.stderr
        return list(yaml.load_all(done.stdout, Loader=yaml.CSafeLoader))

    return built


@pytest.fixture(scope="session")
def check(build: Build, kube_api: KubeApi, crd_schemas: dict[str, CrdSchema]) -> Iterator[ManifestCheck]:
    """The check, with the namespaces, accounts and roles of all overlays applied."""
    with kube_api.client() as api:
        check = make_check(api, custom=crd_schemas)
        for overlay in OVERLAYS:
            for value in build(overlay):
                _apply(check, value)
        yield check


def _apply(check: ManifestCheck, value: dict[str, Any]) -> None:
    namespace = value["metadata"].get("namespace")
    if value["kind"] == "Namespace":
        check.call("POST", "/api/v1/namespaces", body=value)
    elif value["kind"] == "ServiceAccount":
        check.call("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts", body=value)
    elif value["kind"] in ("Role", "RoleBinding"):
        path = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/{value['kind'].lower()}s"
        check.call("POST", path, body=value)
