"""What tests of all parts share: the project's root, the real data beside it, real servers of S3 and Kubernetes."""

from __future__ import annotations

import secrets
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from crd_schema import CrdSchema, load_schemas
from kube_api import KubeApi, KubeApiUnavailable, running_kube_api
from swift_server import SwiftServer, SwiftUnavailable, install_swift, running_swift


def pytest_configure() -> None:
    """Let tests interrupt their children: a shell starts what it puts in the background with SIGINT ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def project_root() -> Path:
    return Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_dir(project_root: Path) -> Path:
    """Real data, kept beside the project and no part of it."""
    folder = project_root.parent / "shared"
    if not folder.is_dir():
        pytest.skip("../shared, the folder with real data beside the project, is not there")
    return folder


@pytest.fixture(scope="session")
def swift_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SwiftServer]:
    """A real S3 server, one for all tests of this process."""
    try:
        programs = install_swift()
    except SwiftUnavailable as error:
        pytest.skip(str(error))
    with running_swift(programs, tmp_path_factory.mktemp("swift")) as server:
        yield server


@dataclass(frozen=True)
class Bucket:
    """A fresh bucket of the S3 server; the AWS variables lead there while the test runs."""

    name: str
    server: SwiftServer

    @property
    def uri(self) -> str:
        return f"s3://{self.name}"


@pytest.fixture
def swift(swift_server: SwiftServer, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """A bucket of this test's own, and the AWS variables that a user would set."""
    return _new_bucket(swift_server, monkeypatch)


@pytest.fixture(scope="module")
def module_swift(swift_server: SwiftServer) -> Iterator[Bucket]:
    """A bucket that a module's tests share, with the same variables."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield _new_bucket(swift_server, monkeypatch)


def _new_bucket(swift_server: SwiftServer, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", swift_server.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", swift_server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", swift_server.secret_key)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1,localhost")
    import boto3

    bucket = Bucket(f"bucket-{secrets.token_hex(6)}", swift_server)
    client = boto3.client("s3")
    client.create_bucket(Bucket=bucket.name)
    client.close()
    return bucket


@pytest.fixture(scope="session")
def kube_api(shared_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubeApi]:
    """A real Kubernetes API server with the CRDs of KServe and Trainer, one for all tests of this process."""
    if not (shared_dir / "envtest/up").exists():
        pytest.skip("../shared/envtest, a Kubernetes API server for tests, is not there")
    crds = [shared_dir / f"crds/{kind}.yaml" for kind in ("inferenceservices", "servingruntimes", "trainjobs")]
    try:
        with running_kube_api(shared_dir / "envtest", tmp_path_factory.mktemp("kube"), crds=crds) as kube:
            yield kube
    except KubeApiUnavailable as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def crd_schemas(shared_dir: Path) -> dict[str, CrdSchema]:
    """Kind to its published schema, for validating strictly what is sent to a cluster."""
    if not (shared_dir / "crds").is_dir():
        pytest.skip("../shared/crds, the published schemas of KServe and Trainer, is not there")
    return load_schemas(shared_dir / "crds")
