"""The section `models`: what is tuned and how, by kind."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from taskmix.config.schema.api import ApiModel
from taskmix.config.schema.decoders import DecoderModel
from taskmix.config.schema.section import Name, Positive, Section, Share


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
    """Of a text in training; what comes behind is not learnt from."""
    long_texts: Literal["cut", "windows"] = "cut"
    """How longer texts are answered. cut: by their first `max_tokens`; words beyond get no slot. windows: by all of the
    text, in overlapping windows of `max_tokens` (`modeling.windows` states the rule)."""
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
    pooling: Literal["mean", "cls", "last"] = "mean"
    """How the text's vector is made of its tokens'; last is for causal models: the last token alone has read all, and
    slots are told at each word's last sub-word."""
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


ModelConfig = Annotated[LinearModel | EncoderModel | DecoderModel | ApiModel, Field(discriminator="kind")]
