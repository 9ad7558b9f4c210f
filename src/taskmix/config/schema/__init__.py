"""The shape of a configuration file: frozen, typed, unknown keys refused.

What one key may hold is said here, a module a section; what keys must say of one another (a task names a dataset that
exists) is checked in `load`. Nothing here reads files or storage.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from taskmix.config.schema.api import ApiModel, KeySecret, TokenPrices
from taskmix.config.schema.datasets import (
    DatasetBase,
    DatasetConfig,
    FileDataset,
    GeneratedDataset,
    HubDataset,
    MassiveDataset,
    NewsgroupsDataset,
    RowLimit,
)
from taskmix.config.schema.decoders import DecoderArchitecture, DecoderModel, DecoderRecipe, Lora
from taskmix.config.schema.evaluation import Evaluation, Gate, Measurement, PinnedExample, Reference, ReportSection
from taskmix.config.schema.models import Architecture, EncoderModel, EncoderRecipe, LinearModel, ModelConfig
from taskmix.config.schema.placement import (
    Deployment,
    Hardware,
    Images,
    KubernetesName,
    Replicas,
    Toleration,
    VariableName,
)
from taskmix.config.schema.schedule import RetrainWhen, Schedule
from taskmix.config.schema.section import Name, Positive, Section, Share
from taskmix.config.schema.tasks import ClassificationTask, PromptTemplate, SlotFillingTask, TaskConfig

__all__ = [
    "ApiModel",
    "Architecture",
    "ClassificationTask",
    "Config",
    "DatasetBase",
    "DatasetConfig",
    "DecoderArchitecture",
    "DecoderModel",
    "DecoderRecipe",
    "Deployment",
    "EncoderModel",
    "EncoderRecipe",
    "Evaluation",
    "FileDataset",
    "Gate",
    "GeneratedDataset",
    "Hardware",
    "HubDataset",
    "Images",
    "KeySecret",
    "LinearModel",
    "Lora",
    "MassiveDataset",
    "Measurement",
    "ModelConfig",
    "Name",
    "NewsgroupsDataset",
    "PinnedExample",
    "Positive",
    "PromptTemplate",
    "Reference",
    "Replicas",
    "ReportSection",
    "RetrainWhen",
    "RowLimit",
    "Schedule",
    "Section",
    "Share",
    "SlotFillingTask",
    "TaskConfig",
    "TokenPrices",
    "Toleration",
]


class Config(Section):
    """One configuration file: the whole of a run but for its secrets."""

    name: Name
    seed: int = Field(13, ge=0)
    storage: str
    """`s3://bucket/prefix` or a folder; everything that a run writes lies below it."""
    datasets: dict[Name, DatasetConfig] = Field(min_length=1)
    tasks: dict[Name, TaskConfig] = Field(min_length=1)
    groupings: dict[Name, Literal["each", "all"] | tuple[tuple[Name, ...], ...]] = {"single": "each", "merged": "all"}
    models: dict[Name, ModelConfig] = Field(min_length=1)
    systems: Literal["all"] | tuple[str, ...] = "all"
    """`model/grouping` each, or all that make sense."""
    hardware: dict[Name, Hardware] = {}
    evaluation: Evaluation = Evaluation()
    gate: Gate = Gate()
    report: ReportSection = ReportSection()
    references: tuple[Reference, ...] = ()
    """Published scores, shown beside ours and marked with their source; nothing is computed of them."""
    deployment: Deployment = Deployment()
    images: Images | None = None
    environment_from: dict[KubernetesName, tuple[VariableName, ...]] = {}
    """Kubernetes Secret, in the namespace where steps run, to those of its keys that every step gets as environment
    variables: S3's, an API's. The local runner ignores it: there the environment is yours."""
    schedule: Schedule | None = None
