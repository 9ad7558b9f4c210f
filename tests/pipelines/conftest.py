"""A cluster's Kubeflow Pipelines on loopback, and a configuration that can be submitted to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from kfp_server import KfpServer, running_kfp_server

from taskmix.config.load import load_config
from taskmix.config.schema import Config
from taskmix_pipelines.connection import Connection, find_connection, open_client, preflight

if TYPE_CHECKING:
    from kfp import Client

DIGEST = "@sha256:" + "0" * 64
CLUSTER = (
    "storage=s3://bucket/tiny",
    f"images={{train: registry.example/train{DIGEST}, serve: registry.example/serve{DIGEST}}}",
)
TINY = """\
name: tiny
storage: tiny
datasets:
  utterances: {format: generated, train: 100, dev: 20, test: 30}
tasks:
  intent: {type: classification, dataset: utterances, label: intent}
models:
  svm: {kind: linear}
schedule: {cron: 0 0 2 * * 1}
"""


@pytest.fixture
def kfp_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[KfpServer]:
    """KFP's API server, of one user; no variable of this machine's leads elsewhere."""
    for name in ("KF_PIPELINES_ENDPOINT", "KF_PIPELINES_UI_ENDPOINT", "KF_TOKEN", "KF_COOKIE", "KF_NAMESPACE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    with running_kfp_server() as server:
        yield server


@pytest.fixture
def connection(kfp_server: KfpServer) -> Connection:
    return find_connection(host=kfp_server.url)


@pytest.fixture
def client(connection: Connection) -> Client:
    """kfp's own client, opened as the commands open it."""
    preflight(connection)
    return open_client(connection)


@pytest.fixture
def tiny_file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path


@pytest.fixture
def tiny(tiny_file: Path) -> Config:
    return load_config(tiny_file, overrides=CLUSTER)


@pytest.fixture(scope="session")
def cluster() -> list[str]:
    """The options that fit the tiny configuration to a cluster."""
    return [word for setting in CLUSTER for word in ("--set", setting)]
