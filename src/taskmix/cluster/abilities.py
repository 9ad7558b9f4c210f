"""What the KServe of a cluster can do, read from what its API publishes to everyone: no permission is needed for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from taskmix.cluster.connection import Cluster
from taskmix.cluster.kinds import INFERENCE_SERVICE, KSERVE
from taskmix.errors import Absent, ClusterError


@dataclass(frozen=True)
class Abilities:
    """What there is.

    Attributes:
        knative: Knative Serving is installed, so services can scale to zero and canaries are revisions.
        canary_entries: `spec.canary[]`, the canary of Standard mode (KServe 0.20 and later).
        new_mode_names: modes are called Standard and Knative (KServe 0.16 and later), not RawDeployment and Serverless.
    """

    knative: bool
    canary_entries: bool
    new_mode_names: bool


def find_abilities(cluster: Cluster) -> Abilities:
    """Ask the cluster.

    Raises:
        ClusterError: it has no KServe.
    """
    groups = {group["name"] for group in cluster.read("/apis")["groups"]}
    if INFERENCE_SERVICE.group not in groups:
        raise ClusterError(
            f"{cluster.host}: {KSERVE} is not installed: the API has no {INFERENCE_SERVICE.group}; install it"
        )
    spec = _published_spec(cluster)
    # `storageUris` came with the same release as the new names (0.16); no field tells the names themselves.
    return Abilities(
        knative="serving.knative.dev" in groups,
        canary_entries="canary" in spec,
        new_mode_names="storageUris" in spec.get("predictor", {}).get("properties", {}),
    )


def _published_spec(cluster: Cluster) -> dict[str, Any]:
    """The properties of an InferenceService's spec as the cluster's own OpenAPI has them."""
    try:
        schemas = cluster.read(f"/openapi/v3/apis/{INFERENCE_SERVICE.api_version}")["components"]["schemas"]
    except Absent:  # before Kubernetes 1.24
        schemas = cluster.read("/openapi/v2")["definitions"]
    version = INFERENCE_SERVICE.api_version.rpartition("/")[2]
    wanted = {"group": INFERENCE_SERVICE.group, "kind": INFERENCE_SERVICE.name, "version": version}
    for schema in schemas.values():
        if wanted in schema.get("x-kubernetes-group-version-kind", ()):
            found: dict[str, Any] = schema.get("properties", {}).get("spec", {}).get("properties", {})
            return found
    raise ClusterError(
        f"{cluster.host}: {KSERVE} is installed, but its API publishes no {INFERENCE_SERVICE.api_version}; "
        "install KServe 0.7 or later"
    )
