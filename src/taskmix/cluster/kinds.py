"""The kinds of objects that taskmix reads and writes on a cluster."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """A kind of object, and where the API has it."""

    api_version: str
    name: str
    plural: str
    source: str = ""
    """What brings the kind; empty for what every cluster has."""

    @property
    def group(self) -> str:
        """The API group; empty for the core."""
        return self.api_version.rpartition("/")[0]

    @property
    def root(self) -> str:
        """The path below which its namespaces lie."""
        return f"/apis/{self.api_version}" if self.group else f"/api/{self.api_version}"


DEPLOYMENT = Kind("apps/v1", "Deployment", "deployments")
EVENT = Kind("v1", "Event", "events")
LEASE = Kind("coordination.k8s.io/v1", "Lease", "leases")
POD = Kind("v1", "Pod", "pods")
POD_LOG = Kind("v1", "Pod", "pods/log")
SERVICE = Kind("v1", "Service", "services")

KSERVE = "KServe"
INFERENCE_SERVICE = Kind("serving.kserve.io/v1beta1", "InferenceService", "inferenceservices", KSERVE)
SERVING_RUNTIME = Kind("serving.kserve.io/v1alpha1", "ServingRuntime", "servingruntimes", KSERVE)
TRAIN_JOB = Kind("trainer.kubeflow.org/v1alpha1", "TrainJob", "trainjobs", "Kubeflow Trainer v2")
