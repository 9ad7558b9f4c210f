"""The sections `hardware`, `images` and `deployment`: where and in what steps run, and where the winner is served."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from taskmix.config.schema.section import Name, Section, Share

KubernetesName = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)]
"""A DNS label: what Kubernetes allows as the name of a namespace, a service account or a runtime."""
VariableName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
"""An environment variable's name."""


class Toleration(Section):
    """A Kubernetes toleration, in Kubernetes' own words."""

    key: str
    operator: Literal["Exists", "Equal"] = "Equal"
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None


class Hardware(Section):
    """A node pool and how much of a node one step, or one replica of the server, takes; the local runner ignores it."""

    gpus: int = Field(0, ge=0)
    accelerator: str = "nvidia.com/gpu"
    """Kubernetes' resource name of one GPU."""
    gpu_memory_gib: Annotated[float, Field(gt=0)] | None = None
    """Memory of one GPU: `taskmix plan` then refuses a decoder's job that cannot fit; null checks nothing."""
    gpu_tflops: Annotated[float, Field(gt=0)] | None = None
    """Dense bf16 multiply rate of one GPU by its maker, in 1e12 a second: `taskmix plan` then tells GPU hours."""
    nodes: int = Field(1, ge=1)
    """Nodes that one training run is spread over, each with all that is said here; other steps take one. Above 1, a
    cluster trains by a Kubeflow Trainer TrainJob."""
    cpus: Annotated[float, Field(gt=0)] | None = None
    memory_gib: Annotated[float, Field(gt=0)] | None = None
    shared_memory_gib: Annotated[float, Field(gt=0)] | None = None
    """Size of /dev/shm, which NCCL and data loaders use; null keeps the container engine's 64 MiB."""
    node_selector: dict[str, str] = {}
    tolerations: tuple[Toleration, ...] = ()
    image_pull_secrets: tuple[KubernetesName, ...] = ()
    """Secrets of the namespace with which nodes pull from a private registry."""
    priority_class: KubernetesName | None = None
    """Kubernetes' PriorityClass of a server's pods. KFP 2.17 cannot set one for a step, and a TrainJob has that of its
    runtime."""
    trainer: bool = False
    """Run training as a TrainJob on one node too: a preempted node then costs what came after the last checkpoint."""
    runtime: KubernetesName = "taskmix-torch"
    """The TrainingRuntime of the TrainJob, in the namespace where steps run; `manifests/` has one of this name. Node
    selector, tolerations, shared memory, pull secrets and priority of a TrainJob stand there."""
    preemptions: int = Field(5, ge=0)
    """How often a TrainJob that lost a node is made anew, to go on from its checkpoint, before training fails."""
    usd_per_hour: float = Field(0.0, ge=0)
    """Of one node."""

    @property
    def by_trainer(self) -> bool:
        """Whether training runs as a TrainJob."""
        return self.trainer or self.nodes > 1


class Replicas(Section):
    """How many servers answer."""

    min: int = Field(1, ge=0)
    """0 lets an idle server go; only Knative can, in Standard mode it means 1."""
    max: int = Field(1, ge=1)

    @model_validator(mode="after")
    def _in_order(self) -> Replicas:
        if self.min > self.max:
            raise ValueError(f"min ({self.min}) is above max ({self.max}); lower min or raise max")
        return self


class Deployment(Section):
    """What the winner is deployed as; all but the name is for a cluster's KServe, the local runner ignores it."""

    name: Name = "taskmix"
    """Of the deployment on storage, of the InferenceService, and of the model in URLs."""
    namespace: KubernetesName | None = None
    """Where the InferenceService lies; null is the namespace of who deploys: the step's, or kubectl's current one."""
    hardware: Name | None = None
    """The profile of `hardware` that one replica takes; null leaves it to the ServingRuntime."""
    replicas: Replicas = Replicas()
    canary_percent: int = Field(10, ge=0, le=100)
    """The share of requests that a new release gets before it gets all; 0 tests it before anyone is sent to it."""
    canary_s: float = Field(60.0, ge=0)
    """Seconds for which a canary must stay ready with that share; an arbitrary number, longer is safer."""
    ready_timeout_s: float = Field(900.0, gt=0)
    """Seconds within which a release must be ready: nodes, images and weights may have to come first."""
    service_account: KubernetesName | None = None
    """Whose secret lets KServe's storage initializer read S3; null is the namespace's default account."""
    runtime: KubernetesName = "taskmix-server"
    """The ServingRuntime; `manifests/` has one of this name. It must serve the model format `taskmix`."""
    mode: Literal["auto", "standard", "knative"] = "auto"
    """KServe's deployment mode. auto: that of the InferenceService if there is one, else Knative where it is
    installed, else standard."""
    gateway: Annotated[str, Field(pattern=r"^https?://[^\s/@]+$")] | None = None
    """Address of the ingress gateway, e.g. http://localhost:8080 of a port-forward, to which requests for the service
    are sent under its own host name; null asks its URL, as inside the cluster."""
    backend: Literal["torch", "torch-bf16", "onnx", "onnx-int8"] = "torch"
    """What computes the answers of served encoders: torch in fp32 or bf16 (for processors with AMX, and GPUs), or ONNX
    Runtime in fp32 (the fastest exact one on a CPU) or with int8 weights. All but `torch` are exported and evaluated
    again before they are deployed."""
    max_backend_loss: Share = 0.005
    """What a task's primary score may lose by the backend, and the share of texts whose answer may depend on what else
    is asked at the same time; an export that loses more is refused."""


class Images(Section):
    """Container images of the compiled pipeline, pinned by digest."""

    train: str
    serve: str

    @field_validator("train", "serve")
    @classmethod
    def _by_digest(cls, image: str) -> str:
        if not re.fullmatch(r"[^\s@]+@sha256:[0-9a-f]{64}", image):
            raise ValueError("must be pinned by digest, e.g. registry.example/taskmix-train@sha256:<64 hex digits>")
        return image
