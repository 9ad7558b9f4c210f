"""Connections of tests to the real API server, each to a namespace of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from kube_api import KubeApi
from played_kserve import PlayedKServe, playing_kserve

from taskmix.cluster.connection import Cluster, connect


@pytest.fixture
def cluster(kube_api: KubeApi, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """A fresh namespace, with every right; KUBECONFIG leads there too."""
    monkeypatch.setenv("KUBECONFIG", str(kube_api.kubeconfig))
    return connect(kube_api.namespace())


@pytest.fixture
def kserve(cluster: Cluster) -> Iterator[PlayedKServe]:
    """KServe in the namespace of `cluster`, played."""
    with playing_kserve(cluster) as played:
        yield played


@pytest.fixture
def restricted(kube_api: KubeApi, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Cluster]:
    """Connect to the namespace of `cluster` as a service account that may do what `rules` allow, and no more."""

    def as_account(rules: Sequence[dict[str, Any]] = ()) -> Cluster:
        config = kube_api.kubeconfig_of(f"account-{len(rules)}", namespace=cluster.namespace, rules=rules)
        monkeypatch.setenv("KUBECONFIG", str(config))
        return connect()

    return as_account
