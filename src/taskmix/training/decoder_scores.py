"""The dev score of a decoder while it trains: what prediction would answer, or how likely the right answers are.

Where every process has whole weights, they share the dev rows and answer as prediction will. Under ZeRO-3 no process
has: answering token by token would gather every weight at every token, so the right answers' likelihood is the score.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from taskmix.config.schema import DecoderModel
from taskmix.data.dataset import Row
from taskmix.modeling.answers import TaskHead
from taskmix.modeling.decoder import PromptAnswerer
from taskmix.modeling.prompt_tokens import PromptTokens
from taskmix.training.batches import pack_epoch, split_to_count
from taskmix.training.decoder_dev import CALIBRATION_ROWS, ask_dev, raw_scores
from taskmix.training.packing import example_losses
from taskmix.training.processes import World, gather_over_all, sum_over_all
from taskmix.training.prompted import PromptedMixture


def answered_scores(
    model: Any,
    *,
    rows: Sequence[Row],
    asker: PromptTokens,
    heads: Mapping[str, TaskHead],
    settings: DecoderModel,
    world: World,
) -> dict[str, float]:
    """Primary score of each task on `CALIBRATION_ROWS` dev rows of it, asked as prediction will ask."""
    with attention_of_prediction(model):
        answerer = PromptAnswerer(
            model, tokenizer=asker.tokenizer, prompts=asker.prompts, heads=heads, settings=settings
        )
        own = ask_dev(answerer, rows[world.rank :: world.size], heads=heads, most=CALIBRATION_ROWS // world.size)
    parts = gather_over_all(own)
    return raw_scores({task: [each for part in parts for each in part[task]] for task in heads}, heads=heads)


@contextmanager
def attention_of_prediction(model: Any) -> Iterator[None]:
    """Let the model attend to padded batches and caches, which the attention of packed rows cannot."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    packed = base.config._attn_implementation
    base.set_attn_implementation("sdpa")
    try:
        yield
    finally:
        base.set_attn_implementation(packed)


@torch.no_grad()
def likelihoods(
    model: Any, *, dev: PromptedMixture, tokens_per_forward: int, device: torch.device, world: World
) -> dict[str, float]:
    """Prompt (its tasks joined by `+`) to the likelihood of a token of the right answers, in [0, 1].

    The geometric mean over an answer's tokens and over examples: exp of minus the loss.
    """
    totals = torch.zeros(2, len(dev.prompts), dtype=torch.float64, device=device)
    if len(dev):
        order = np.arange(len(dev))
        packs = pack_epoch(dev.lengths, order, tokens_per_batch=tokens_per_forward, generator=np.random.default_rng(0))
        packs = split_to_count(packs, count=-(-len(packs) // world.size) * world.size)
        for pack in packs[world.rank :: world.size]:
            row = dev.collate_plain(pack)
            placed = {name: part.to(device) if isinstance(part, Tensor) else part for name, part in row.items()}
            prompt_of = torch.from_numpy(dev.prompt_of[pack]).to(device)
            losses = example_losses(model, placed).double()
            totals[0].index_add_(0, prompt_of, losses)
            totals[1].index_add_(0, prompt_of, torch.ones_like(losses))
    losses_P, counts_P = sum_over_all(totals).cpu()
    return {
        "+".join(prompt.tasks): float(torch.exp(-losses_P[index] / counts_P[index]))
        for index, prompt in enumerate(dev.prompts)
        if counts_P[index] > 0
    }
