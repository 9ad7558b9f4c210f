"""The shape of a configuration file: frozen, typed, unknown keys refused.

What one key may hold is said here; what keys must say of one another (a task names a dataset that exists) is checked in
`load`. Nothing here reads files or storage.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$")]
"""A name that is safe in a path, an S3 key, a KFP node and a URL."""
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """Base of every section: immutable, and a key that it does not know is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


# --- datasets -------------------------------------------------------------------------------------------------------


class RowLimit(Section):
    """At most so many rows of each split, drawn with the run's seed; null keeps all."""

    train: Positive | None = None
    dev: Positive | None = None
    test: Positive | None = None


class DatasetBase(Section):
    """What all formats share."""

    dev_fraction: float = Field(0.1, gt=0.0, lt=0.5)
    """Share of train cut off as dev, stratified and seeded, where the source has no dev split."""
    max_bad_rows: Share = 0.01
    """Share of rows that may go to quarantine before ingest refuses the dataset."""
    limit: RowLimit = RowLimit()


class MassiveDataset(DatasetBase):
    """MASSIVE (arXiv 2204.08582): the official tar.gz, or one locale's jsonl."""

    format: Literal["massive"]
    uri: str
    locale: str = "en-US"


class NewsgroupsDataset(DatasetBase):
    """20 Newsgroups, the `bydate` archive; gives the columns `group` (20 classes) and `area` (7 classes)."""

    format: Literal["20newsgroups"]
    uri: str
    strip: tuple[Literal["headers", "footers", "quotes"], ...] = ()


class FileDataset(DatasetBase):
    """Rows in files: a CSV, a JSON-lines or a Parquet file a split."""

    format: Literal["csv", "jsonl", "parquet"]
    uri: str
    """Holds `{split}`, which becomes train, dev and test."""
    text: str | tuple[str, ...]
    """Column(s) of the text; several are joined by a line break, a list of words by spaces."""
    id: str | None = None
    """Column of the id; without it the id is split and row number."""

    @field_validator("uri")
    @classmethod
    def _has_split(cls, uri: str) -> str:
        if "{split}" not in uri:
            raise ValueError("must hold '{split}', which becomes train, dev and test, e.g. data/{split}.csv")
        return uri


class HubDataset(DatasetBase):
    """A dataset of the Hugging Face hub, or a local folder of the same form, read by the `datasets` library."""

    format: Literal["hub"]
    path: str
    """`owner/name`, or a folder."""
    revision: str | None = None
    subset: str | None = None
    """The hub calls it the configuration name."""
    splits: dict[Literal["train", "dev", "test"], str] = {"train": "train", "dev": "validation", "test": "test"}
    text: str | tuple[str, ...]
    id: str | None = None


class GeneratedDataset(DatasetBase):
    """Utterances that taskmix writes itself from a grammar, with the columns `intent`, `topic` and `slots`."""

    format: Literal["generated"]
    train: Positive = 2400
    dev: Positive = 400
    test: Positive = 800
    noise: Share = 0.08
    """Share of words that get a typing error, and of train rows with a wrong intent (or, as often, a wrong slot)."""


DatasetConfig = Annotated[
    MassiveDataset | NewsgroupsDataset | FileDataset | HubDataset | GeneratedDataset, Field(discriminator="format")
]


# --- tasks ----------------------------------------------------------------------------------------------------------


class ClassificationTask(Section):
    """One label of a set for each text."""

    type: Literal["classification"]
    dataset: Name
    label: str
    """Column of the label."""
    labels: tuple[str, ...] | None = None
    """The label space, in order; without it, the labels seen in train, sorted. Append only: the order is the index."""


class SlotFillingTask(Section):
    """Labelled spans of words in each text."""

    type: Literal["slot_filling"]
    dataset: Name
    annotation: str
    """Column of the spans: text with `[slot : words]`, {start, end, slot} in characters each, or one BIO tag a word."""
    labels: tuple[str, ...] | None = None
    """The slots, in order; without it, the slots seen in train, sorted. Append only."""


TaskConfig = Annotated[ClassificationTask | SlotFillingTask, Field(discriminator="type")]


# --- models ---------------------------------------------------------------------------------------------------------


class LinearModel(Section):
    """TF-IDF of words and characters with a linear SVM; slots by a linear classifier over window features."""

    kind: Literal["linear"]
    hardware: Name | None = None
    regularization: tuple[Annotated[float, Field(gt=0)], ...] = Field((0.1, 0.3, 0.6, 1.0, 3.0), min_length=1)
    """The SVM's C: the value best on dev is taken; the search goes upwards and ends at the first worse value."""


class Architecture(Section):
    """An encoder with random weights and a tokenizer trained on the job's own texts: needs no download."""

    layers: Positive = 4
    hidden: Positive = 128
    heads: Positive = 4
    feed_forward: Positive = 512
    vocabulary: Positive = 4000
    """Sub-words, at most."""


class EncoderRecipe(Section):
    """How an encoder is fine-tuned."""

    epochs: Positive = 4
    learning_rate: float = Field(3e-5, gt=0)
    """Of the backbone, at its peak."""
    head_learning_rate: float | None = Field(None, gt=0)
    """Of the task heads; null takes `learning_rate`."""
    warmup_fraction: Share = 0.06
    """Share of all steps over which the rate rises linearly; then it falls linearly to zero."""
    weight_decay: float = Field(0.01, ge=0)
    clip_norm: float = Field(1.0, gt=0)
    tokens_per_batch: Positive = 4096
    """Budget of one optimizer step, padding counted, over all processes."""
    max_tokens: int = Field(256, ge=8)
    """Longer texts are cut at the end; words beyond the cut get no slot."""
    temperature: float = Field(1.0, gt=0)
    """Of the mixture: a dataset of n rows gets a share of the epoch in proportion to n ** (1 / temperature)."""
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Of backbone and heads; null keeps the checkpoint's own, and 0.1 before the heads."""
    freeze_embeddings: bool = False
    patience: Positive | None = None
    """Stop after so many epochs without a better dev score; null trains all. The best epoch is kept either way."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto: bf16 where the device multiplies it natively, else fp32."""
    checkpoint_steps: Positive | None = None
    """Optimizer steps between checkpoints; null writes one an epoch."""


class EncoderModel(Section):
    """A Hugging Face encoder with one head a task."""

    kind: Literal["encoder"]
    checkpoint: str | None = None
    """`owner/name@revision` of a hub, a folder, or s3://...; safetensors only."""
    architecture: Architecture | None = None
    """Instead of `checkpoint`: random weights of this size."""
    pooling: Literal["mean", "cls"] = "mean"
    """How the text's vector is made of its tokens'."""
    tuning: Literal["full"] = "full"
    hardware: Name | None = None
    recipe: EncoderRecipe = EncoderRecipe()

    @model_validator(mode="after")
    def _one_origin(self) -> EncoderModel:
        if (self.checkpoint is None) == (self.architecture is None):
            raise ValueError(
                "needs exactly one of 'checkpoint' (pretrained weights) and 'architecture' (random weights)"
            )
        return self


ModelConfig = Annotated[LinearModel | EncoderModel, Field(discriminator="kind")]


# --- where, how judged, where to ------------------------------------------------------------------------------------


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
    cpus: Annotated[float, Field(gt=0)] | None = None
    memory_gib: Annotated[float, Field(gt=0)] | None = None
    shared_memory_gib: Annotated[float, Field(gt=0)] | None = None
    """Size of /dev/shm, which NCCL and data loaders use; null keeps the container engine's 64 MiB."""
    node_selector: dict[str, str] = {}
    tolerations: tuple[Toleration, ...] = ()
    usd_per_hour: float = Field(0.0, ge=0)


class Measurement(Section):
    """How a job is measured: all of `evaluation` that decides its scorecard."""

    confidence: float = Field(0.95, gt=0.5, lt=1.0)
    resamples: int = Field(1000, ge=100)
    """Bootstrap resamples behind every interval."""
    ece_bins: Positive = 15
    latency_texts: Positive = 200
    """Test texts sent one by one to measure latency, after a warm-up."""


class Evaluation(Measurement):
    """How systems are measured and compared."""

    margins: dict[Literal["accuracy", "span_f1"], Annotated[float, Field(gt=0, le=0.5)]] = {}
    """Score to the loss that is small enough to be called none, e.g. 0.01 for a point; without it nothing can be shown
    to be as good as something else. To be set before the run."""


class Gate(Section):
    """What the best system must show before it is deployed."""

    rank_by: str = "mean"
    """`mean` of the tasks' primary scores, or the name of one task."""
    minimum: dict[str, Share] = {}
    """Task to the least primary score (accuracy, slot F1) on test."""
    minimum_by: Literal["score", "interval"] = "score"
    """interval: the low end of the score's interval must reach the minimum, so few test texts cannot pass by luck."""
    must_not_lose_to: Literal["champion", "nothing"] = "champion"
    """champion: no task may be worse than the served system's by more than its margin (`evaluation.margins`), shown on
    the same test data; without margins the score ranked by may not be below the served system's."""
    maximum_label_drop: Share | None = None
    """Largest share of one label's (or slot's) right answers that may be lost to the champion; null does not look."""
    maximum_ece: Share | None = None
    """Largest expected calibration error of any task; null does not look."""
    maximum_p99_ms: Annotated[float, Field(gt=0)] | None = None
    """Largest 99th percentile of the time of one text, on the machine that evaluated; null does not look."""


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
    deployment: Deployment = Deployment()
    images: Images | None = None
