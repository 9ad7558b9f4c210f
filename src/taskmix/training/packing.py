"""Prompts with their answers, many in one row without padding, and the loss of their answers.

A packed row is example after example. Positions restart at each, and attention stays within each
(`training.packed_attention`, or a kernel of transformers that reads the restarts), so that an example's loss is what it
would be alone. Logits are computed only where an answer's token is predicted: a prompt is mostly instruction and text,
and a large vocabulary's logits would be the largest tensor of the step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


@dataclass(frozen=True)
class PromptedAnswer:
    """One example of a decoder in tokens.

    Attributes:
        prompt_ids: (prompt tokens,) int32, at least one.
        answer_ids: (answer tokens,) int32, at least one: what is learnt, its end included.
    """

    prompt_ids: NDArray[np.int32]
    answer_ids: NDArray[np.int32]

    def __len__(self) -> int:
        """Tokens that a model reads: all but the last, which is only predicted."""
        return len(self.prompt_ids) + len(self.answer_ids) - 1


@dataclass(frozen=True)
class Weighted:
    """An example's place in the mixture, and what its loss counts in the optimizer step.

    Attributes:
        index: of the example.
        weight: one over the examples of the whole step, those of other processes and forward passes counted.
    """

    index: int
    weight: float


def collate_packed(examples: Sequence[PromptedAnswer], weights: Sequence[float]) -> dict[str, Any]:
    """One packed row.

    Args:
        examples: what the row holds, one after another.
        weights: one an example: what its mean loss is multiplied by.

    Returns:
        The arguments of `packed_loss`: `input_ids` and `position_ids` (1, tokens) int64, `lengths` the tokens of each
        example and `answer_lengths` of each answer, `predicting` (answer tokens,) int64 the places whose logits predict
        an answer's token, `targets` (answer tokens,) int64 those tokens, `target_weights` (answer tokens,) float32.
    """
    lengths = tuple(len(example) for example in examples)
    offsets = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64)
    ids = [np.concatenate([example.prompt_ids, example.answer_ids[:-1]]) for example in examples]
    predicting = [
        offset + len(example.prompt_ids) - 1 + np.arange(len(example.answer_ids))
        for offset, example in zip(offsets, examples, strict=True)
    ]
    shares = [
        np.full(len(example.answer_ids), weight / len(example.answer_ids), np.float32)
        for example, weight in zip(examples, weights, strict=True)
    ]
    return {
        "input_ids": _row(ids).unsqueeze(0),
        "position_ids": _row([np.arange(length) for length in lengths]).unsqueeze(0),
        "lengths": lengths,
        "answer_lengths": tuple(len(example.answer_ids) for example in examples),
        "predicting": _row(predicting),
        "targets": _row([example.answer_ids for example in examples]),
        "target_weights": torch.from_numpy(np.concatenate(shares)),
    }


def _row(parts: Sequence[NDArray[Any]]) -> Tensor:
    return torch.from_numpy(np.concatenate(parts).astype(np.int64))


def attention_arguments(lengths: Sequence[int], *, device: torch.device) -> dict[str, Any]:
    """What tells attention where examples end, in the words of our own attention and of flash-attention's kernels."""
    ends = torch.tensor([0, *np.cumsum(lengths)], dtype=torch.int32, device=device)
    longest = max(lengths)
    return {
        "packed_lengths": tuple(lengths),
        "cu_seq_lens_q": ends,
        "cu_seq_lens_k": ends,
        "max_length_q": longest,
        "max_length_k": longest,
    }


def answer_logits(model: Any, row: dict[str, Any]) -> Tensor:
    """Logits that predict the answers' tokens of a packed row, (answer tokens, vocabulary).

    Without a cache: with one, transformers no longer sees by the positions that the row is packed.
    """
    arguments = attention_arguments(row["lengths"], device=row["input_ids"].device)
    output = model(
        input_ids=row["input_ids"],
        position_ids=row["position_ids"],
        logits_to_keep=row["predicting"],
        use_cache=False,
        **arguments,
    )
    logits_NV: Tensor = output.logits[0]
    return logits_NV


def packed_loss(model: Any, row: dict[str, Any]) -> Tensor:
    """The weighted sum over a row's examples of the mean cross-entropy of each one's answer, a scalar.

    The mean is taken within an example first, so that an answer of thirty tokens (slots) counts as much as one of three
    (a label).
    """
    loss: Tensor = (_token_losses(model, row) * row["target_weights"]).sum()
    return loss


def example_losses(model: Any, row: dict[str, Any]) -> Tensor:
    """The mean cross-entropy of each answer of a row, (examples,) float32."""
    parts = torch.split(_token_losses(model, row), list(row["answer_lengths"]))
    return torch.stack([part.mean() for part in parts])


def _token_losses(model: Any, row: dict[str, Any]) -> Tensor:
    logits_NV = answer_logits(model, row)
    return nn.functional.cross_entropy(logits_NV.float(), row["targets"], reduction="none")
