"""The plan's estimate of a decoder's memory against what a training step really takes, on a CPU.

    nice -n 10 python benchmarks/decoder_memory.py            # seven Llamas, every way of training: minutes, 3 GB
    python benchmarks/decoder_memory.py --quick               # two of them, seconds

Some models are marked as fitted: what one constant of the estimate, `BACKWARD_SHARE`, was fitted to, and `wordy`, which
showed that another, `LOGIT_BYTES`, counted too much. The others are held out, and unlike them in what could matter:
without grouped keys, deep and narrow, wide, with a large vocabulary. What share each run would have wanted is printed,
so that the constant can be fitted again, and its error be seen.

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
from taskmix.training.memory import ANSWER_SHARE, BACKWARD_SHARE, GIB, estimate, layer_bytes, tokens_held
from taskmix.training.model_shapes import ModelShape, shape_of
from taskmix.training.packed_attention import choose_attention
from taskmix.training.packing import PromptedAnswer, collate_packed, packed_loss

MIB = 2**20
EXAMPLE_TOKENS = 128
"""Of each example in the packed row; `ANSWER_SHARE` of them are answers."""


@dataclass(frozen=True)
class Size:
    """A model to measure.

    Attributes:
        architecture: in a configuration's words.
        tokens: of the packed row.
        fitted: whether a constant of the estimate was set with its figures in sight.
        quick: whether a quick run takes it.
    """

    architecture: dict[str, int]
    tokens: int
    fitted: bool = False
    quick: bool = False


def _llama(layers: int, hidden: int, heads: int, keys: int, feed_forward: int, vocabulary: int) -> dict[str, int]:
    names = ("layers", "hidden", "heads", "key_value_heads", "feed_forward", "vocabulary")
    return dict(zip(names, (layers, hidden, heads, keys, feed_forward, vocabulary), strict=True))


SIZES = {
    "tiny": Size(_llama(3, 128, 4, 2, 384, 512), 512, fitted=True, quick=True),
    "small": Size(_llama(8, 512, 8, 4, 1408, 8000), 2048, fitted=True),
    "flat": Size(_llama(2, 192, 6, 6, 512, 1000), 768, quick=True),
    "deep": Size(_llama(16, 256, 4, 4, 688, 4000), 1024),
    "wide": Size(_llama(3, 1024, 16, 4, 3584, 8000), 1024),
    "wordy": Size(_llama(4, 256, 8, 2, 896, 64000), 1024, fitted=True),
    "broad": Size(_llama(6, 384, 6, 3, 1024, 32000), 1536),
}


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
        "tokens_per_batch": SIZES[size].tokens,
        "max_tokens": EXAMPLE_TOKENS,
        "precision": way.precision,
        "gradient_checkpointing": way.recompute,
    }
    fields = {"kind": "decoder", "architecture": SIZES[size].architecture, "tuning": way.tuning, "recipe": recipe}
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


@dataclass(frozen=True)
class Run:
    """One model trained one way.

    Attributes:
        size: the model's name.
        way: of training.
        expected: by the plan.
        found: by measuring.
        wanted_share: the `BACKWARD_SHARE` by which the whole would have been right; null where logits are the peak,
            which it does not enter.
    """

    size: str
    way: Way
    expected: Taken
    found: Taken
    wanted_share: float | None

    @property
    def ratio(self) -> float:
        """Estimated by measured, of the whole."""
        return self.expected.total / self.found.total


def run(size: str, way: Way) -> Run:
    """Estimate and measure."""
    settings = settings_of(size, way)
    shape = shape_of(settings)
    assert shape is not None
    expected, found = estimated(settings, shape), measured(settings, shape)
    passing = found.total - (expected.total - expected.passing)
    return Run(size, way, expected, found, wanted_share(settings, shape, passing=passing))


def wanted_share(settings: DecoderModel, shape: ModelShape, *, passing: int) -> float | None:
    """See `Run`; `passing` is what activations and logits should have been estimated at, in bytes."""
    told = estimate(settings, shape=shape, gpus=1)
    tokens = tokens_held(settings.recipe, processes=1)
    layer = tokens * layer_bytes(shape, width=4 if settings.recipe.precision == "fp32" else 2)
    again = 1 if settings.recipe.gradient_checkpointing else 0
    if round(told.working_gib * GIB) != round(layer * (BACKWARD_SHARE + again)):
        return None
    return (passing - told.activations_gib * GIB) / layer - again


def cells(each: Run) -> list[str]:
    """One line of the table: estimate / measured, in MiB."""
    parts = [
        f"{getattr(each.expected, part) / MIB:.1f} / {getattr(each.found, part) / MIB:.1f}"
        for part in ("weights", "gradients", "optimizer", "passing", "total")
    ]
    kept = "recomputed" if each.way.recompute else "kept"
    share = "logits" if each.wanted_share is None else f"{each.wanted_share:.2f}"
    fitted = "yes" if SIZES[each.size].fitted else "no"
    return [each.size, fitted, each.way.tuning, each.way.precision, kept, *parts, share, f"{each.ratio:.2f}"]


def summary(runs: list[Run], *, fitted: bool) -> str:
    """The ratios, and the shares wanted, of the models that were fitted to, or of the others."""
    chosen = [each for each in runs if SIZES[each.size].fitted == fitted]
    ratios = [each.ratio for each in chosen]
    shares = [each.wanted_share for each in chosen if each.wanted_share is not None]
    named = "fitted" if fitted else "held out"
    return (
        f"{named}: {len(chosen)} runs, estimated / measured {min(ratios):.2f} to {max(ratios):.2f}, median "
        f"{np.median(ratios):.2f}; share wanted: median {np.median(shares):.2f}, taken {BACKWARD_SHARE}"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a fitted and a held-out model, both small")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    columns = ("model", "fitted", "tuning", "precision", "activations", "weights", "gradients", "optimizer")
    title = f"Memory of a training step, MiB: estimated / measured, torch {torch.__version__} on a CPU"
    table = Table(*columns, "activations and logits", "in all", "share", "ratio", title=title)
    runs = [run(name, way) for name, size in SIZES.items() if size.quick or not arguments.quick for way in WAYS]
    for each in runs:
        table.add_row(*cells(each))
    console = Console(width=180)
    console.print(table)
    for fitted in (True, False):
        console.print(summary(runs, fitted=fitted))


if __name__ == "__main__":
    main()
