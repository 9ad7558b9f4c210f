"""The InferenceService: how a release becomes one, and how a new release is let in, promoted or taken back.

Everything here is a function from objects to objects; `rollout` sends them. Three ways to let a release in first:

- knative: the new predictor with `canaryTrafficPercent`; Knative keeps the old revision. Tagged, so that the new one
  has a URL of its own.
- entries: `spec.canary[]` of Standard mode, a Deployment and Service of its own beside the old; promoting takes its
  name over, so that no pod restarts. KServe sends it its share where it routes by Gateway API, else none.
- candidate: an older KServe's Standard mode ignores `canaryTrafficPercent` silently and has no entries. A second
  InferenceService is tested without users, then the first changes its predictor in place.

(KServe pull request 5672, inference_service_validation.go and ksvc_reconciler.go of 0.21.)
"""

from __future__ import annotations

import copy
import hashlib
import json
from dataclasses import dataclass
from typing import Any, Literal

from taskmix.cluster.abilities import Abilities
from taskmix.cluster.connection import Object
from taskmix.cluster.kinds import INFERENCE_SERVICE
from taskmix.config.plan import DeploymentSlice
from taskmix.config.quantities import resource_quantities
from taskmix.config.schema import Hardware
from taskmix.serving.child import GRACE_S

Way = Literal["knative", "entries", "candidate"]
Mode = Literal["Knative", "Standard"]

MODE = "serving.kserve.io/deploymentMode"
TAGS = "serving.kserve.io/enable-tag-routing"
RELEASE = "taskmix/release"
"""Annotation: the release that the stable predictor serves."""
DEPLOYER = "taskmix/deployer"
"""Annotation: who may change the object, the holder of the Lease; he who finds another name there stops."""
STABLE = "taskmix/stable-predictor"
"""Annotation: the predictor to return to while a canary has taken its place in the spec, as JSON."""
MODEL_FORMAT = "taskmix"
PRE_STOP_S = 10
"""How long the ServingRuntime's `preStop` sleeps before SIGTERM (manifests/base/serving/runtime.yaml)."""
TERMINATION_S = PRE_STOP_S + GRACE_S + 5
"""When Kubernetes may kill a pod that ends: after the sleep, the requests in flight, and a little, arbitrarily, for the
server's own end. KServe's default of 30 s would cut off requests that the server still means to answer."""
_LEGACY = {"Serverless": "Knative", "RawDeployment": "Standard"}


@dataclass(frozen=True)
class Wanted:
    """A release as it shall be served.

    Attributes:
        name: of the InferenceService.
        release: URI of the release.
        storage_uri: of its folder; ends with a slash.
        settings: the deployment and its hardware.
        mode: of the InferenceService.
        abilities: what this KServe can do.
    """

    name: str
    release: str
    storage_uri: str
    settings: DeploymentSlice
    mode: Mode
    abilities: Abilities

    @property
    def way(self) -> Way:
        """How a canary is let in."""
        if self.mode == "Knative":
            return "knative"
        return "entries" if self.abilities.canary_entries else "candidate"

    @property
    def variant(self) -> str:
        """A name for this release's predictor, which its Deployment is named by; another release has another."""
        return f"r{hashlib.sha256(self.storage_uri.encode()).hexdigest()[:8]}"

    @property
    def min_replicas(self) -> int:
        """Standard mode cannot scale to zero."""
        least = self.settings.deployment.replicas.min
        return least if self.mode == "Knative" else max(1, least)


def find_mode(existing: Object | None, *, wanted: str, abilities: Abilities) -> Mode:
    """The mode of an InferenceService: its own, since KServe refuses to change it, else the wanted or fitting one."""
    if existing is not None:
        told = existing.get("status", {}).get("deploymentMode") or notes_of(existing).get(MODE) or "Standard"
        return "Knative" if _LEGACY.get(told, told) == "Knative" else "Standard"
    if wanted == "auto":
        return "Knative" if abilities.knative else "Standard"
    return "Knative" if wanted == "knative" else "Standard"


def notes_of(value: Object) -> dict[str, str]:
    """The annotations of an object; empty where it has none."""
    found: dict[str, str] = value["metadata"].get("annotations") or {}
    return found


def new_service(wanted: Wanted, *, deployer: str, name: str | None = None) -> Object:
    """An InferenceService that serves a release, with nothing before it.

    Args:
        wanted: the release.
        deployer: who may change it.
        name: another name than the deployment's, for a candidate.
    """
    mode: str = wanted.mode
    if not wanted.abilities.new_mode_names:
        mode = {new: old for old, new in _LEGACY.items()}[mode]
    noted = {MODE: mode, DEPLOYER: deployer, RELEASE: wanted.release}
    return {
        "apiVersion": INFERENCE_SERVICE.api_version,
        "kind": INFERENCE_SERVICE.name,
        "metadata": {
            "name": name or wanted.name,
            "labels": {"app.kubernetes.io/managed-by": "taskmix"},
            "annotations": noted | ({TAGS: "true"} if wanted.mode == "Knative" else {}),
        },
        "spec": {"predictor": predictor(wanted)},
    }


def predictor(wanted: Wanted) -> Object:
    """The predictor of a release at full share."""
    deployment = wanted.settings.deployment
    value = _fixed_predictor(wanted)
    return {**value, "minReplicas": wanted.min_replicas, "maxReplicas": deployment.replicas.max}


def _fixed_predictor(wanted: Wanted) -> Object:
    """The predictor without what scales it."""
    deployment, hardware = wanted.settings.deployment, wanted.settings.hardware
    model: Object = {
        "modelFormat": {"name": MODEL_FORMAT},
        "runtime": deployment.runtime,
        "storageUri": wanted.storage_uri,
    }
    if wanted.way == "entries":  # the schema of entries wants a name; KServe's webhook gives the container this one
        model["name"] = "kserve-container"
    quantities = resource_quantities(hardware) if hardware else {}
    if quantities:
        model["resources"] = {"requests": quantities, "limits": quantities}
    value: Object = {"model": model}
    if wanted.way == "entries":
        value["name"] = wanted.variant
    if wanted.mode == "Standard":  # Knative refuses the field: it drains pods itself, for as long as a request may take
        value["terminationGracePeriodSeconds"] = TERMINATION_S
    if deployment.service_account:
        value["serviceAccountName"] = deployment.service_account
    return value | (_placement(hardware) if hardware else {})


def _placement(hardware: Hardware) -> Object:
    placement: dict[str, Any] = {
        "nodeSelector": dict(hardware.node_selector),
        "tolerations": [toleration.model_dump(exclude_none=True) for toleration in hardware.tolerations],
        "imagePullSecrets": [{"name": name} for name in hardware.image_pull_secrets],
        "priorityClassName": hardware.priority_class,
    }
    return {key: value for key, value in placement.items() if value}


def stable_predictor(service: Object) -> Object:
    """The predictor that users are served by: the spec's, or the one that a canary was put in place of."""
    kept = notes_of(service).get(STABLE)
    found: Object = json.loads(kept) if kept else copy.deepcopy(service["spec"]["predictor"])
    found.pop("canaryTrafficPercent", None)
    return found


def with_canary(service: Object, wanted: Wanted) -> Object:
    """The InferenceService with the release let in beside what it serves (ways `knative` and `entries`)."""
    changed, share = copy.deepcopy(service), wanted.settings.deployment.canary_percent
    before = stable_predictor(service)
    if wanted.way == "knative":
        changed["spec"]["predictor"] = {**predictor(wanted), "canaryTrafficPercent": share}
        return _noted(changed, {STABLE: json.dumps(before, sort_keys=True), TAGS: "true"})
    # Entries may not scale, and not have more replicas than the stable one.
    canary = {**_fixed_predictor(wanted), "minReplicas": 1}
    changed["spec"]["canary"] = [{"predictor": canary, "trafficPercent": share}]
    return changed


def promoted(service: Object, wanted: Wanted) -> Object:
    """The InferenceService with the release as its only one."""
    changed = copy.deepcopy(service)
    changed["spec"]["predictor"] = predictor(wanted)
    changed["spec"].pop("canary", None)
    return _noted(changed, {RELEASE: wanted.release, STABLE: None})


def dark(service: Object) -> Object:
    """The InferenceService with no request going to its canary (way `knative`): all go to the revision before."""
    changed = copy.deepcopy(service)
    changed["spec"]["predictor"]["canaryTrafficPercent"] = 0
    return changed


def returned(service: Object, before: Object, *, release: str | None) -> Object:
    """The InferenceService with the predictor of before and no canary.

    Args:
        service: as it is.
        before: the predictor to return to.
        release: that it serves, where it is known.
    """
    changed = copy.deepcopy(service)
    changed["spec"]["predictor"] = copy.deepcopy(before)
    changed["spec"].pop("canary", None)
    return _noted(changed, {RELEASE: release, STABLE: None})


def taken_by(service: Object, deployer: str) -> Object:
    """The InferenceService with the name of who may change it from now on."""
    return _noted(copy.deepcopy(service), {DEPLOYER: deployer})


def serves(service: Object, wanted: Wanted) -> bool:
    """Whether the release is already what the InferenceService serves at full share, as it is wanted."""
    ours, theirs = predictor(wanted), service["spec"]["predictor"]
    if service["spec"].get("canary") or "canaryTrafficPercent" in theirs:
        return False
    return all(theirs.get(key) == value for key, value in ours.items() if key not in ("model", "name")) and all(
        theirs.get("model", {}).get(key) == value for key, value in ours["model"].items()
    )


def is_same_model(service: Object, wanted: Wanted) -> bool:
    """Whether the release is what the InferenceService serves at full share, be it in another way than wanted."""
    return bool(stable_predictor(service).get("model", {}).get("storageUri") == wanted.storage_uri)


def workload_name(name: str, variant: str | None) -> str:
    """What KServe calls a predictor's Deployment and Service in Standard mode."""
    return f"{name}-{variant}-predictor" if variant else f"{name}-predictor"


def _noted(service: Object, notes: dict[str, str | None]) -> Object:
    kept = {key: text for key, text in notes_of(service).items() if key not in notes}
    service["metadata"]["annotations"] = kept | {key: text for key, text in notes.items() if text is not None}
    return service
