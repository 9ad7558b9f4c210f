"""The sections `hardware`, `images` and `deployment`: where and in what steps run, and where the winner is served."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator

from taskmix.config.schema.section import Name, Section


class Toleration(Section):
    """A Kubernetes toleration, in Kubernetes' own words."""

    key: str
    operator: Literal["Exists", "Equal"] = "Equal"
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None


class Hardware(Section):
    """A node pool and how much of a node one step takes; the local runner ignores it."""

    gpus: int = Field(0, ge=0)
    accelerator: str = "nvidia.com/gpu"
    """Kubernetes' resource name of one GPU."""
    gpu_memory_gib: Annotated[float, Field(gt=0)] | None = None
    """Memory of one GPU: `taskmix plan` then refuses a decoder's job that cannot fit; null checks nothing."""
    nodes: int = Field(1, ge=1)
    """Nodes that one training run is spread over, each with all that is said here; other steps take one."""
    cpus: Annotated[float, Field(gt=0)] | None = None
    memory_gib: Annotated[float, Field(gt=0)] | None = None
    shared_memory_gib: Annotated[float, Field(gt=0)] | None = None
    """Size of /dev/shm, which NCCL and data loaders use; null keeps the container engine's 64 MiB."""
    node_selector: dict[str, str] = {}
    tolerations: tuple[Toleration, ...] = ()
    usd_per_hour: float = Field(0.0, ge=0)
    """Of one node."""


class Deployment(Section):
    """What the winner is deployed as."""

    name: Name = "taskmix"


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
