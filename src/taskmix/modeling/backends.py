"""What computes an encoder's logits: torch here, ONNX Runtime in `onnx_backend`; and the batches that both get.

A backend knows tensors only. Which one a system is served with is told by its export (`modeling.exports`); training
and evaluation use torch in fp32.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from taskmix.modeling.tokens import TokenizedText, batches_by_length, pad
from taskmix.modeling.windows import WindowRule, cut_windows, join_logits

TOKENS_PER_FORWARD = 4096
"""Budget of one forward pass at prediction: small enough for a CPU's caches. Arbitrary; answers do not depend on it."""


class Backend(Protocol):
    """One forward pass over a padded batch."""

    @property
    def one_by_one(self) -> bool:
        """Whether texts share no pass, because an answer would depend on its neighbours otherwise."""
        ...

    def __call__(self, ids_BT: Tensor, mask_BT: Tensor, *, tasks: Sequence[str]) -> Mapping[str, NDArray[np.float32]]:
        """Logits of each of `tasks`.

        Args:
            ids_BT: (batch, tokens) int64.
            mask_BT: (batch, tokens) int64, 1 where there is a token.
            tasks: which to compute.

        Returns:
            Task to (batch, labels) for classification, (batch, tokens, tags) for slot filling.
        """
        ...


class TorchBackend:
    """The module itself, in the precision that it has.

    Args:
        module: a `MultiTaskEncoder` on `device`.
        device: where its weights lie.
    """

    one_by_one = False

    def __init__(self, module: nn.Module, *, device: torch.device) -> None:
        self._module = module
        self._device = device

    @torch.inference_mode()
    def __call__(self, ids_BT: Tensor, mask_BT: Tensor, *, tasks: Sequence[str]) -> Mapping[str, NDArray[np.float32]]:
        """See `Backend`."""
        logits = self._module(ids_BT.to(self._device), mask_BT.to(self._device), tasks)
        return {task: logits[task].float().cpu().numpy() for task in tasks}


def compute_logits(
    backend: Backend,
    texts: Sequence[TokenizedText],
    *,
    tasks: Sequence[str],
    pad_token_id: int,
    windows: WindowRule | None = None,
    tokens_per_batch: int = TOKENS_PER_FORWARD,
) -> dict[str, list[NDArray[np.float32]]]:
    """Logits of every text, in the order given; batches are by length inside.

    Args:
        backend: what computes.
        texts: tokenized; longer ones than the backend reads only with `windows`.
        tasks: which to compute.
        pad_token_id: the tokenizer's.
        windows: how long texts are cut, and their parts' logits joined; null takes texts as they are.
        tokens_per_batch: padding counted.

    Returns:
        Task to one array a text: (labels,) for classification, (tokens, tags) for slot filling.
    """
    if windows is None or all(len(text) <= windows.max_tokens for text in texts):
        return _batched(backend, texts, tasks=tasks, pad_token_id=pad_token_id, tokens_per_batch=tokens_per_batch)
    cut = [cut_windows(text, rule=windows) for text in texts]
    parts = [window.text for of_text in cut for window in of_text]
    logits = _batched(backend, parts, tasks=tasks, pad_token_id=pad_token_id, tokens_per_batch=tokens_per_batch)
    ends = np.cumsum([len(of_text) for of_text in cut]).tolist()
    return {
        task: [
            join_logits(of_text, logits[task][end - len(of_text) : end], tokens=len(text), rule=windows)
            for text, of_text, end in zip(texts, cut, ends, strict=True)
        ]
        for task in tasks
    }


def _batched(
    backend: Backend, texts: Sequence[TokenizedText], *, tasks: Sequence[str], pad_token_id: int, tokens_per_batch: int
) -> dict[str, list[NDArray[np.float32]]]:
    """Logits of every text, each short enough to be read at once."""
    results: dict[str, list[NDArray[np.float32]]] = {task: [np.empty(0, np.float32)] * len(texts) for task in tasks}
    budget = 1 if backend.one_by_one else tokens_per_batch
    for batch in batches_by_length([len(text) for text in texts], tokens_per_batch=budget):
        ids_BT, mask_BT = pad([texts[index] for index in batch], pad_token_id=pad_token_id)
        logits = backend(ids_BT, mask_BT, tasks=tasks)
        for task in tasks:
            rows = logits[task]
            for row, index in enumerate(batch):
                results[task][index] = rows[row] if rows.ndim == 2 else rows[row, : len(texts[index])]
    return results
