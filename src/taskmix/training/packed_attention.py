"""Attention within each example of a packed row, by torch's own kernels, whatever they are compiled for.

transformers packs too (positions that restart), but with sdpa and eager it computes the whole square of the row under a
mask: at 16,384 tokens of examples of 256, 64 times the products that count. Here each example is one causal call, which
on a GPU is torch's flash kernel. Exact, and the same code on CPU and GPU.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

PACKED = "taskmix_packed"
"""The name that transformers knows it by."""


def packed_attention(
    module: nn.Module,
    query_BHTD: Tensor,
    key_BKTD: Tensor,
    value_BKTD: Tensor,
    attention_mask: Tensor | None,
    *,
    packed_lengths: tuple[int, ...],
    scaling: float | None = None,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[Tensor, None]:
    """Causal attention within examples; the form of transformers' attention functions.

    Args:
        module: the attention layer.
        query_BHTD: (1, heads, tokens, head size).
        key_BKTD: (1, key-value heads, tokens, head size); heads is a multiple of key-value heads.
        value_BKTD: likewise.
        attention_mask: not used: there is none for this name.
        packed_lengths: tokens of each example; their sum is the row's.
        scaling: of the products; null takes one over the square root of the head size.
        dropout: of the attention's weights.

    Returns:
        (1, tokens, heads, head size), and no weights.
    """
    sizes = list(packed_lengths)
    parts = zip(*(torch.split(part, sizes, dim=2) for part in (query_BHTD, key_BKTD, value_BKTD)), strict=True)
    grouped = query_BHTD.shape[1] != key_BKTD.shape[1]
    outputs = [
        nn.functional.scaled_dot_product_attention(
            query, key, value, dropout_p=dropout, is_causal=query.shape[2] > 1, scale=scaling, enable_gqa=grouped
        )
        for query, key, value in parts
    ]
    return torch.cat(outputs, dim=2).transpose(1, 2).contiguous(), None


def choose_attention(config: Any) -> str:
    """The attention to train packed rows with: flash-attention where it is installed for a GPU, else ours.

    Ours knows nothing of sliding windows or capped logits: a model that has them keeps sdpa with restarting positions.
    """
    from transformers.utils import is_flash_attn_2_available

    if torch.cuda.is_available() and is_flash_attn_2_available():
        return "flash_attention_2"
    special = ("sliding_window", "attn_logit_softcapping", "attention_chunk_size")
    if any(getattr(config, name, None) for name in special):
        return "sdpa"
    register()
    return PACKED


def register() -> None:
    """Make `PACKED` known to transformers; more than once is harmless."""
    from transformers import AttentionInterface

    AttentionInterface.register(PACKED, packed_attention)
