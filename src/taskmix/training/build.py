"""The encoder before fine-tuning: pretrained or random weights, new heads, and what the recipe changes in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from taskmix.config.schema import EncoderModel
from taskmix.errors import TrainingError
from taskmix.modeling.answers import TaskHead
from taskmix.modeling.checkpoint import checkpoint_folder, load_backbone
from taskmix.modeling.encoder import HEAD_DROPOUT, MultiTaskEncoder
from taskmix.modeling.tokens import load_tokenizer
from taskmix.training.scratch import random_backbone, train_tokenizer

EAGER_UP_TO = 256
"""Tokens of a text up to which a CPU trains no slower with plain matrix products than with torch's fused attention: in
bf16 they take 0.4 of its time at 14 tokens, 0.7 at 170, 1.1 at 256, 1.8 at 512. Batches are sorted by length, so most
are shorter than the recipe's `max_tokens` (`benchmarks/encoder_training.py`)."""


def build_encoder(
    model: EncoderModel, *, heads: Mapping[str, TaskHead], texts: Sequence[str]
) -> tuple[MultiTaskEncoder, Any]:
    """The model before fine-tuning, pretrained or random, with new heads; and its tokenizer.

    Raises:
        TrainingError: `max_tokens` is more than the model has positions for.
    """
    recipe = model.recipe
    if model.architecture is not None:
        tokenizer = train_tokenizer(texts, vocabulary=model.architecture.vocabulary)
        backbone = random_backbone(model.architecture, tokenizer=tokenizer, max_tokens=recipe.max_tokens)
    else:
        assert model.checkpoint is not None
        with checkpoint_folder(model.checkpoint) as folder:
            tokenizer, backbone = load_tokenizer(folder), load_backbone(folder)
        limit = position_limit(backbone, tokenizer)
        if recipe.max_tokens > limit:
            raise TrainingError(
                f"recipe.max_tokens is {recipe.max_tokens}, but '{model.checkpoint}' reads at most {limit} tokens: "
                f"set it to {limit} or less"
            )
    if not torch.cuda.is_available() and recipe.max_tokens <= EAGER_UP_TO:
        backbone.set_attn_implementation("eager")
    if recipe.dropout is not None:
        set_dropout(backbone, recipe.dropout)
    if recipe.freeze_embeddings:
        backbone.get_input_embeddings().requires_grad_(False)
    dropout = HEAD_DROPOUT if recipe.dropout is None else recipe.dropout
    return MultiTaskEncoder(backbone, heads=heads, pooling=model.pooling, dropout=dropout), tokenizer


def position_limit(backbone: Any, tokenizer: Any) -> int:
    """Tokens that the model has positions for; RoBERTa and its kin count positions from after the padding index."""
    positions = int(getattr(backbone.config, "max_position_embeddings", 1 << 30))
    padding_index = getattr(getattr(backbone, "embeddings", None), "padding_idx", None)
    if padding_index is not None:
        positions -= int(padding_index) + 1
    return min(positions, int(getattr(tokenizer, "model_max_length", positions)))


def set_dropout(backbone: nn.Module, rate: float) -> None:
    """Set every dropout of the backbone, those inside attention too (a rate read at each forward pass)."""
    for module in backbone.modules():
        if isinstance(module, nn.Dropout):
            module.p = rate
        for name in ("dropout_prob", "attention_dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, rate)
