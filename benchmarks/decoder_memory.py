"""The plan's estimate of a decoder's memory against what a training step really takes, on a CPU.

    nice -n 10 python benchmarks/decoder_memory.py            # a tiny and a small Llama, every way of training
    python benchmarks/decoder_memory.py --quick               # the tiny one, seconds

Measured: weights, gradients and optimizer state by the bytes of their tensors after one step; activations and logits by
the highest sum, above these, of what torch's profiler saw allocated and freed in forward and backward of a second
pass, whose gradients add up in those of the first. The step is training's own (packed row, loss, adapters, autocast)
without the Trainer. Estimated: `training.memory.estimate` without its fixed cost and slack, which stand for CUDA's
context and its allocator. On a GPU, `gpu_training.py` sets the whole estimate against the card's own peak.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch.profiler import ProfilerActivity, profile
from transformers import LlamaConfig, LlamaForCausalLM

from taskmix.config.schema import DecoderModel
from taskmix.training.decoder import prepare
from taskmix.training.decoder_build import weights_dtype
from taskmix.training.memory import ANSWER_SHARE, GIB, estimate, tokens_held
from taskmix.training.model_shapes import ModelShape, shape_of
from taskmix.training.packed_attention import choose_attention
from taskmix.training.packing import PromptedAnswer, collate_packed, packed_loss

MIB = 2**20
EXAMPLE_TOKENS = 128
"""Of each example in the packed row; `ANSWER_SHARE` of them are answers."""
SHAPES = {
    "tiny": {"layers": 3, "hidden": 128, "heads": 4, "key_value_heads": 2, "feed_forward": 384, "vocabulary": 512},
    "small": {"layers": 8, "hidden": 512, "heads": 8, "key_value_heads": 4, "feed_forward": 1408, "vocabulary": 8000},
}
TOKENS = {"tiny": 512, "small": 2048}


@dataclass(frozen=True)
class Way:
    """One way of training."""

    tuning: str
    precision: str
    recompute: bool


WAYS = tuple(
    Way(tuning, precision, recompute)
    for tuning in ("full", "lora")
    for precision in ("fp32", "bf16")
    for recompute in (False, True)
)


@dataclass(frozen=True)
class Taken:
    """Bytes of one way of training; `passing` are activations and logits together, at their highest."""

    weights: int
    gradients: int
    optimizer: int
    passing: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.gradients + self.optimizer + self.passing


def settings_of(size: str, way: Way) -> DecoderModel:
    """The configuration of a model of this size, trained this way."""
    recipe = {
        "tokens_per_batch": TOKENS[size],
        "max_tokens": EXAMPLE_TOKENS,
        "precision": way.precision,
        "gradient_checkpointing": way.recompute,
    }
    fields = {"kind": "decoder", "architecture": SHAPES[size], "tuning": way.tuning, "recipe": recipe}
    return DecoderModel.model_validate(fields)


def estimated(settings: DecoderModel, shape: ModelShape) -> Taken:
    """What the plan expects."""
    told = estimate(settings, shape=shape, gpus=1)
    passing = told.activations_gib + told.working_gib
    parts = (told.weights_gib, told.gradients_gib, told.optimizer_gib, passing)
    return Taken(*(round(part * GIB) for part in parts))


def measured(settings: DecoderModel, shape: ModelShape) -> Taken:
    """What a step takes."""
    torch.manual_seed(13)
    bf16 = settings.recipe.precision == "bf16"
    module = prepare(make_llama(shape, dtype=weights_dtype(settings, bf16=bf16)), settings).train()
    learnt = [weight for weight in module.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(learnt, lr=1e-5, fused=True)
    row = make_row(tokens_held(settings.recipe, processes=1), vocabulary=shape.vocabulary)
    pass_through(module, row, bf16=bf16)
    optimizer.step()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recording:
        pass_through(module, row, bf16=bf16)
    state = (value for each in optimizer.state.values() for value in each.values())
    gradients = (weight.grad for weight in learnt if weight.grad is not None)
    return Taken(bytes_of(module.parameters()), bytes_of(gradients), bytes_of(state), highest(recording))


def make_llama(shape: ModelShape, *, dtype: torch.dtype) -> Any:
    """A Llama of this shape with random weights, with training's attention."""
    config = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_value_heads,
        intermediate_size=shape.feed_forward,
        tie_word_embeddings=shape.tied,
        use_cache=False,
    )
    return LlamaForCausalLM._from_config(config, attn_implementation=choose_attention(config)).to(dtype)


def make_row(tokens: int, *, vocabulary: int) -> dict[str, Any]:
    """A packed row of about so many tokens."""
    answer = round(EXAMPLE_TOKENS * ANSWER_SHARE)
    generator = np.random.default_rng(13)

    def draw(length: int) -> Any:
        return generator.integers(3, vocabulary, length).astype(np.int32)

    count = tokens // EXAMPLE_TOKENS
    examples = [PromptedAnswer(draw(EXAMPLE_TOKENS - answer + 1), draw(answer)) for _ in range(count)]
    return collate_packed(examples, [1 / count] * count)


def pass_through(module: Any, row: dict[str, Any], *, bf16: bool) -> None:
    """Forward and backward."""
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        loss = packed_loss(module, row)
    loss.backward()  # type: ignore[no-untyped-call]


def bytes_of(tensors: Iterable[torch.Tensor]) -> int:
    """Bytes of tensors, shared storage once."""
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    return sum(storages.values())


def highest(recording: profile) -> int:
    """The highest sum of bytes allocated and not yet freed."""
    assert recording.profiler is not None
    results: Any = recording.profiler.kineto_results
    changes = sorted(_allocations(results.experimental_event_tree()))
    return max(0, int(np.cumsum([size for _, size in changes]).max()))


def _allocations(events: Iterable[Any]) -> Iterator[tuple[int, int]]:
    """Time and bytes of each allocation (freed: below zero)."""
    waiting = list(events)
    while waiting:
        event = waiting.pop()
        waiting.extend(event.children)
        if event.name == "[memory]":
            yield event.start_time_ns, event.extra_fields.alloc_size


def measure_row(size: str, way: Way) -> list[str]:
    """One line of the table: estimate / measured, in MiB."""
    settings = settings_of(size, way)
    shape = shape_of(settings)
    assert shape is not None
    expected, found = estimated(settings, shape), measured(settings, shape)
    parts = [
        f"{getattr(expected, part) / MIB:.1f} / {getattr(found, part) / MIB:.1f}"
        for part in ("weights", "gradients", "optimizer", "passing", "total")
    ]
    kept = "recomputed" if way.recompute else "kept"
    return [size, way.tuning, way.precision, kept, *parts, f"{expected.total / found.total:.2f}"]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the tiny model only")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    columns = ("model", "tuning", "precision", "activations", "weights", "gradients", "optimizer")
    title = f"Memory of a training step, MiB: estimated / measured, torch {torch.__version__} on a CPU"
    table = Table(*columns, "activations and logits", "in all", "ratio", title=title)
    for size in ["tiny"] if arguments.quick else list(SHAPES):
        for way in WAYS:
            table.add_row(*measure_row(size, way))
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
