"""A deployment of a test's own: what a test deploys, to a cluster of one ability or another, and what came of it."""

from __future__ import annotations

from typing import Any

from played_kserve import PlayedKServe

from taskmix import storage
from taskmix.cluster.abilities import Abilities
from taskmix.cluster.connection import Cluster
from taskmix.cluster.deploying import Site, deploy
from taskmix.cluster.kinds import INFERENCE_SERVICE
from taskmix.config.plan import DeploymentSlice
from taskmix.serving.releases import champion, stage

WAYS = {
    "entries": Abilities(knative=False, canary_entries=True, new_mode_names=True),
    "knative": Abilities(knative=True, canary_entries=True, new_mode_names=True),
    "candidate": Abilities(knative=False, canary_entries=False, new_mode_names=False),
}


class Deployed:
    """One deployment, named as its namespace is: tests share the storage."""

    def __init__(self, root: str, kserve: PlayedKServe, cluster: Cluster) -> None:
        self.root, self.kserve, self.cluster = root, kserve, cluster
        self.name = f"d{cluster.namespace.removeprefix('test-')}"
        self.way = "entries"

    def stage(self, run: str) -> str:
        return stage(storage.join(self.root, "runs", run, "report"), deployment=self.name, run=run)

    def deploy(self, release: str, **changed: Any) -> str:
        return deploy(release, self.settings(**changed), site=self.site)

    def settings(self, **changed: Any) -> DeploymentSlice:
        hardware = changed.pop("hardware", None)
        patience = {"ready_timeout_s": 20, "canary_s": 0.2, "gateway": self.kserve.gateway}
        return DeploymentSlice.model_validate(
            {"deployment": {"name": self.name, **patience, **changed}, "hardware": hardware}
        )

    @property
    def site(self) -> Site:
        return Site(self.cluster, WAYS[self.way], poll_s=0.1, lock_wait_s=60)

    @property
    def served_run(self) -> str | None:
        record = champion(self.root, self.name)
        return record["run"] if record else None

    @property
    def service(self) -> dict[str, Any] | None:
        return self.cluster.find(INFERENCE_SERVICE, self.name)
