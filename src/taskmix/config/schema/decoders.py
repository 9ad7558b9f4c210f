"""`kind: decoder` of the section `models`: a language model that answers a prompt, or carries a classifier's heads."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from taskmix.config.schema.section import Name, Positive, Section, Share


class DecoderArchitecture(Section):
    """A small Llama with random weights and a tokenizer trained on the job's own texts: needs no download."""

    layers: Positive = 4
    hidden: Positive = 128
    heads: Positive = 4
    key_value_heads: Positive | None = None
    """Grouped-query attention: divides `heads`; null takes as many as `heads`."""
    feed_forward: Positive = 384
    vocabulary: Positive = 4000
    """Sub-words, at most."""

    @model_validator(mode="after")
    def _divisible(self) -> DecoderArchitecture:
        if self.hidden % (2 * self.heads):
            raise ValueError(f"hidden {self.hidden} must be an even multiple of heads {self.heads} (rotary positions)")
        if self.heads % (self.key_value_heads or self.heads):
            raise ValueError(f"key_value_heads {self.key_value_heads} must divide heads {self.heads}")
        return self


class Lora(Section):
    """Low-rank adaptation (Hu et al. 2021, arXiv 2106.09685); the bundle holds the weights with it merged in."""

    rank: Positive = 16
    alpha: float = Field(32.0, gt=0)
    """The update is scaled by alpha / rank."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    targets: Literal["all-linear"] | tuple[str, ...] = "all-linear"
    """Modules that are adapted, by the ends of their names; all-linear takes every linear layer but the output's."""


class DecoderRecipe(Section):
    """How a decoder is fine-tuned; of a model that is not, only `max_tokens` and `precision` count."""

    epochs: Positive = 3
    learning_rate: float = Field(1e-5, gt=0)
    """At its peak."""
    warmup_fraction: Share = 0.03
    """Share of all steps over which the rate rises linearly; then it falls along a cosine to a tenth."""
    weight_decay: float = Field(0.0, ge=0)
    clip_norm: float = Field(1.0, gt=0)
    tokens_per_batch: Positive = 16384
    """Budget of one optimizer step, prompts and answers, over all processes."""
    tokens_per_forward: Positive | None = None
    """Most tokens of one forward pass of one process (a longer single example aside): with less than its share of
    `tokens_per_batch`, gradients add up over several passes. What to lower when memory is short; null takes the share
    whole."""
    max_tokens: int = Field(1024, ge=16)
    """Of a prompt: longer texts are cut in their middle. The answer comes on top and is never cut."""
    temperature: float = Field(1.0, gt=0)
    """Of the mixture: a task of n examples gets a share of the epoch in proportion to n ** (1 / temperature)."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto: bf16 where the device multiplies it natively, else fp32."""
    checkpoint_steps: Positive | None = None
    """Optimizer steps between checkpoints; null writes one an epoch."""
    patience: Positive | None = None
    """Stop after so many epochs without a better dev score; null trains all. The best epoch is kept either way."""
    gradient_checkpointing: bool = False
    """Compute activations twice rather than keep them: about a third slower, for a fraction of their memory."""
    deepspeed: Literal["zero1", "zero2", "zero3"] | None = None
    """What is spread over the processes: optimizer state; gradients too; weights too (arXiv 1910.02054)."""
    offload: bool = False
    """Keep the optimizer's state, and with zero3 the weights, in the host's memory."""
    lora: Lora = Lora()
    """Counts with `tuning: lora`."""

    @model_validator(mode="after")
    def _offload_is_deepspeeds(self) -> DecoderRecipe:
        if self.offload and self.deepspeed is None:
            raise ValueError("offload needs deepspeed: zero1, zero2 or zero3")
        return self


class DecoderModel(Section):
    """A Hugging Face causal language model: fine-tuned on prompts, or asked as it is."""

    kind: Literal["decoder"]
    checkpoint: str | None = None
    """`owner/name@revision` of a hub, a folder, or s3://...; safetensors only."""
    architecture: DecoderArchitecture | None = None
    """Instead of `checkpoint`: random weights of this size."""
    tuning: Literal["full", "lora", "none"] = "full"
    shots: int = Field(0, ge=0)
    """Examples from train in the prompt, with `tuning: none` only; one a label until there are so many."""
    head: Literal["generator", "classifier"] = "generator"
    """generator answers in text; classifier puts one linear head a task on the last layer: no prompt, lower latency."""
    chat: Literal["auto", "off"] = "auto"
    """auto: prompts take the tokenizer's chat template where it has one."""
    answers: Literal["separate", "joint"] = "separate"
    """A merged model is asked task by task, or answers all tasks of a dataset at once."""
    label_decoding: Literal["exact", "greedy", "free"] = "exact"
    """exact scores every label; greedy follows the likeliest tokens that lead to a label; free may answer nonsense."""
    length_normalized: bool = False
    """Score a label by the mean of its tokens' log-probabilities rather than their sum, with `exact`."""
    slot_decoding: Literal["constrained", "free"] = "constrained"
    """constrained can only name the task's slots and copy words of the text; free may answer nonsense."""
    hardware: Name | None = None
    recipe: DecoderRecipe = DecoderRecipe()

    @model_validator(mode="after")
    def _consistent(self) -> DecoderModel:
        if (self.checkpoint is None) == (self.architecture is None):
            raise ValueError(
                "needs exactly one of 'checkpoint' (pretrained weights) and 'architecture' (random weights)"
            )
        if self.shots and self.tuning != "none":
            raise ValueError(f"shots {self.shots} needs tuning: none; a tuned model has learnt from all of train")
        if self.head == "classifier" and self.tuning != "full":
            raise ValueError("head: classifier needs tuning: full; a new head must be trained, and with it the weights")
        if self.head == "classifier" and self.recipe.deepspeed:
            raise ValueError("head: classifier trains without deepspeed; take it out, or choose head: generator")
        if self.head == "classifier" and self.answers == "joint":
            raise ValueError("answers: joint needs head: generator; a classifier answers all tasks in one pass anyway")
        return self
