"""Memory that fine-tuning a decoder takes of each GPU, estimated before anything starts; and what would make it fit.

Bytes of weights, gradients and optimizer state follow ZeRO's own accounting (Rajbhandari et al. 2020, arXiv 1910.02054,
section 3): mixed-precision Adam takes 2 + 2 + 12 bytes a weight, of which stage 1 spreads the optimizer's over the
processes, stage 2 the gradients' too, stage 3 the weights' too. Activations are counted from a layer's operations, and
tested against what autograd keeps. No torch here: `taskmix plan` asks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

from taskmix.config.schema import DecoderModel, DecoderRecipe, Hardware
from taskmix.training.model_shapes import ModelShape

GIB = 2**30
ADAM_BYTES = 8
"""Two moments in fp32, a learnt weight."""
LIVE_WEIGHTS = 1_000_000_000
"""Weights that ZeRO-3 gathers at most at a time (DeepSpeed's stage3_max_live_parameters)."""
ANSWER_SHARE = 0.25
"""Tokens of a batch that are answers, at most: only there are logits computed. Arbitrary; prompts are mostly longer."""
LONGEST_ANSWER = 64
"""Tokens; with `max_tokens` of a prompt, the longest example, which a forward pass must hold whole. Arbitrary."""
LOGIT_BYTES = 12
"""At the peak, cross-entropy's backward pass: a log-softmax, its gradient, and that of the logit, each in fp32."""
BACKWARD_SHARE = 0.35
"""Of a layer's activations, what its backward pass adds for gradients. Fitted to two models of
`benchmarks/decoder_memory.py`: above what half of their runs want (0.24), below what most in bf16 do (0.4 to 0.5), so
that a whole is at most six per cent short. The benchmark also has models that it was not fitted to."""
FIXED_GIB = 1.5
"""CUDA's context and libraries' workspaces. Arbitrary, of the order seen on recent cards."""
SLACK = 1.05
"""What the allocator loses to fragments. Arbitrary."""


@dataclass(frozen=True)
class MemoryEstimate:
    """GiB of one GPU, by what they hold.

    Attributes:
        weights_gib: with the copies that autocast keeps of them.
        gradients_gib: of the weights that learn.
        optimizer_gib: its state.
        activations_gib: what is kept from the forward pass to the backward pass.
        working_gib: what is at work beside them, at its highest: logits, or after them a layer in its backward pass.
        host_gib: of one node's memory, by offloading.
    """

    weights_gib: float
    gradients_gib: float
    optimizer_gib: float
    activations_gib: float
    working_gib: float
    host_gib: float = 0.0

    @property
    def total_gib(self) -> float:
        """Of one GPU, fixed costs and slack counted."""
        held = [getattr(self, part.name) for part in fields(self) if part.name != "host_gib"]
        return FIXED_GIB + SLACK * float(sum(held))


def estimate(model: DecoderModel, *, shape: ModelShape, gpus: int, nodes: int = 1) -> MemoryEstimate:
    """Memory of fine-tuning `model` on `nodes` nodes of `gpus` GPUs, one process each."""
    recipe, processes = model.recipe, max(1, gpus) * nodes
    half = recipe.precision != "fp32"  # auto is bf16 on every GPU that such models are trained on
    learnt = shape.lora_parameters(recipe.lora.rank) if model.tuning == "lora" else shape.parameters
    weights, gradients, optimizer, host = _states(model, shape=shape, learnt=learnt, processes=processes, half=half)
    tokens = tokens_held(recipe, processes=processes)
    width = 2 if half else 4
    layer = tokens * layer_bytes(shape, width=width)
    again = recipe.gradient_checkpointing
    activations = shape.layers * (tokens * shape.hidden * width if again else layer)
    logits = ANSWER_SHARE * tokens * shape.vocabulary * LOGIT_BYTES
    backward = layer * (BACKWARD_SHARE + (1 if again else 0))
    return MemoryEstimate(
        weights_gib=weights / GIB,
        gradients_gib=gradients / GIB,
        optimizer_gib=optimizer / GIB,
        activations_gib=activations / GIB,
        working_gib=max(logits, backward) / GIB,
        host_gib=host * max(1, gpus) / GIB,
    )


def tokens_held(recipe: DecoderRecipe, *, processes: int) -> int:
    """Most tokens of one forward pass of one process."""
    share = -(-recipe.tokens_per_batch // processes)
    return max(min(share, recipe.tokens_per_forward or share), recipe.max_tokens + LONGEST_ANSWER)


def layer_bytes(shape: ModelShape, *, width: int) -> int:
    """Bytes that autograd keeps of one token in one layer.

    Args:
        shape: the model.
        width: bytes of an activation: 2 in bf16, 4 in fp32.
    """
    attended, keys = shape.heads * shape.head_size, shape.key_value_heads * shape.head_size
    norms = 2 * (2 * 4 * shape.hidden + width * shape.hidden)  # each in fp32: its input and what it was scaled to
    attention = width * (shape.hidden + 2 * attended + 3 * keys) + 4 * shape.heads
    feed_forward = width * (shape.hidden + 4 * shape.feed_forward)
    return norms + attention + feed_forward


def _states(
    model: DecoderModel, *, shape: ModelShape, learnt: int, processes: int, half: bool
) -> tuple[float, float, float, float]:
    """Bytes of weights, gradients and optimizer state on a GPU, and of what it keeps on the host."""
    recipe, total = model.recipe, shape.parameters
    if recipe.deepspeed is None:
        frozen = model.tuning == "lora"
        # Without DeepSpeed the weights that learn are fp32; in bf16 autocast keeps a copy of each for the step.
        held = (2 if half else 4) * total + 4 * learnt if frozen else (6 if half else 4) * total
        buckets = 2 if processes > 1 else 1  # data parallel training adds up gradients in buckets of their own
        return held, 4 * learnt * buckets, ADAM_BYTES * learnt, 0
    stage = int(recipe.deepspeed[-1])
    width = 2 if half else 4
    masters = 4 if half else 0
    weights: float = width * total
    if stage == 3:
        kept = weights / processes
        weights = (0 if recipe.offload else kept) + width * min(total, LIVE_WEIGHTS)
    gradients = width * learnt / (processes if stage >= 2 else 1)
    optimizer = (masters + ADAM_BYTES + 4) * learnt / processes  # 4: the step's own fp32 gradients
    if not recipe.offload:
        return weights, gradients, optimizer, 0
    host = optimizer + (width * total / processes if stage == 3 else 0)
    return weights, gradients, 0, host


@dataclass(frozen=True)
class Remedy:
    """Settings that make a job fit, as keys and values of the configuration, and what it takes then."""

    settings: dict[str, Any]
    total_gib: float


def remedies(model: DecoderModel, *, shape: ModelShape, hardware: Hardware) -> list[Remedy]:
    """What would make the job fit: the smallest change on the GPUs that there are, and the fewest GPUs that do."""
    assert hardware.gpu_memory_gib is not None
    gpus, nodes = max(1, hardware.gpus), hardware.nodes
    found = []
    for change in _changes(model, processes=gpus * nodes):
        changed = _with(model, change)
        total = estimate(changed, shape=shape, gpus=gpus, nodes=nodes).total_gib
        if total <= hardware.gpu_memory_gib:
            found.append(Remedy(change, total))
            break
    spread = {"deepspeed": "zero3", "gradient_checkpointing": True, **_least_tokens(model.recipe)}
    for count in (2**power for power in range(1, 11)):
        if count <= gpus * nodes:
            continue
        total = estimate(_with(model, spread), shape=shape, gpus=count).total_gib
        if total <= hardware.gpu_memory_gib:
            found.append(Remedy({**spread, "GPUs": count}, total))
            break
    return found


def _least_tokens(recipe: DecoderRecipe) -> dict[str, Any]:
    return {"tokens_per_forward": recipe.max_tokens + LONGEST_ANSWER}


def _changes(model: DecoderModel, *, processes: int) -> Iterator[dict[str, Any]]:
    """Settings to try, the nearest first: same result, then slower, then another way of tuning."""
    recipe = model.recipe
    tokens = tokens_held(recipe, processes=processes)
    yield {"gradient_checkpointing": True}
    while tokens > recipe.max_tokens + LONGEST_ANSWER:
        tokens = max(tokens // 2, recipe.max_tokens + LONGEST_ANSWER)
        yield {"gradient_checkpointing": True, "tokens_per_forward": tokens}
    least = {"gradient_checkpointing": True, **_least_tokens(recipe)}
    if processes > 1:
        yield {**least, "deepspeed": "zero2"}
        yield {**least, "deepspeed": "zero3"}
    yield {**least, "deepspeed": "zero3", "offload": True}
    if model.tuning == "full":
        yield {**least, "tuning": "lora"}
        yield {**least, "tuning": "lora", "deepspeed": "zero3"}
        yield {**least, "tuning": "lora", "deepspeed": "zero3", "offload": True}


def _with(model: DecoderModel, change: dict[str, Any]) -> DecoderModel:
    recipe = {key: value for key, value in change.items() if key != "tuning"}
    update: dict[str, Any] = {"recipe": model.recipe.model_copy(update=recipe)}
    if "tuning" in change:
        update["tuning"] = change["tuning"]
    return model.model_copy(update=update)
