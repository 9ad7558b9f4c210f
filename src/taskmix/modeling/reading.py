"""Reading with a language model: prompts once, then whatever follows them, on cached keys and values.

A `Reading` is a batch of sequences that the model has read. What they begin with in common (instruction, labels,
examples) is read once for all of them and for every later batch: a `Prefix`. Every forward pass gets explicit positions
and a mask of its own, so that padding, branches of a tree and shared beginnings never see what they should not.
Used by `label_trie`, `slot_decoding` and `writing`; nothing here knows of tasks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import DynamicCache

LEAST_PREFIX = 4
"""Tokens in common from which reading them apart pays. Arbitrary."""


@dataclass(frozen=True)
class Prefix:
    """The beginning of every prompt of a task, read.

    Attributes:
        ids: (tokens,) int32.
        layers: keys and values of each layer, (1, heads, tokens, width) each.
    """

    ids: NDArray[np.int32]
    layers: tuple[tuple[Tensor, Tensor], ...]


class Reading:
    """Sequences read so far.

    Attributes:
        cache: keys and values, (batch, heads, read, width) a layer.
        visible_BT: (batch, read) bool, which places hold a token of the row rather than padding.
        lengths_B: (batch,) int64, tokens of each row: the position of its next one.
        logits_BV: (batch, vocabulary) float32, of each row's next token.
    """

    def __init__(self, module: Any, *, cache: DynamicCache, visible_BT: Tensor, lengths_B: Tensor) -> None:
        self.module = module
        self.cache = cache
        self.visible_BT = visible_BT
        self.lengths_B = lengths_B
        self.logits_BV = torch.empty(0)

    def __len__(self) -> int:
        return len(self.lengths_B)

    def advance(self, rows: Sequence[Sequence[int]]) -> None:
        """Read more tokens of each row, any number a row, also none; `logits_BV` of a row without stays as it is."""
        width = max((len(row) for row in rows), default=0)
        if not width:
            return
        ids_BN = torch.zeros((len(rows), width), dtype=torch.long)
        new_BN = torch.zeros((len(rows), width), dtype=torch.bool)
        for index, row in enumerate(rows):
            if len(row):
                ids_BN[index, width - len(row) :] = torch.as_tensor(np.asarray(row, dtype=np.int64))
                new_BN[index, width - len(row) :] = True
        device = self.visible_BT.device
        ids_BN, new_BN = ids_BN.to(device), new_BN.to(device)
        positions_BN = self.lengths_B[:, None] + (new_BN.cumsum(dim=1) - 1).clamp(min=0)
        causal_NN = torch.ones((width, width), dtype=torch.bool, device=device).tril()
        logits = self._forward(ids_BN, positions_BN, causal_NN[None] & new_BN[:, None, :], keep=1)[:, -1]
        grown_B = new_BN.any(dim=1)
        self.logits_BV = torch.where(grown_B[:, None], logits, self.logits_BV) if self.logits_BV.numel() else logits
        self.visible_BT = torch.cat([self.visible_BT, new_BN], dim=1)
        self.lengths_B = self.lengths_B + new_BN.sum(dim=1)

    def branch(self, ids_K: Tensor, *, depths_K: Tensor, sees_KK: Tensor) -> Tensor:
        """Logits after each node of a tree of continuations, in one forward pass; the reading stays where it is.

        Args:
            ids_K: (nodes,) int64, the token of each node.
            depths_K: (nodes,) int64, tokens between a node and the reading's end, 0 for the first.
            sees_KK: (nodes, nodes) bool, which nodes each one sees: its ancestors and itself.

        Returns:
            (batch, nodes, vocabulary) float32.
        """
        batch, nodes = len(self), len(ids_K)
        positions_BK = self.lengths_B[:, None] + depths_K[None]
        logits = self._forward(
            ids_K[None].expand(batch, -1), positions_BK, sees_KK[None].expand(batch, -1, -1), keep=nodes
        )
        self.cache.crop(-nodes)
        return logits

    def copy(self) -> Reading:
        """The same place, to go on from apart; keys and values are shared until then."""
        cache = DynamicCache()
        for index, layer in enumerate(self.cache.layers):
            cache.update(layer.keys, layer.values, index)
        twin = Reading(self.module, cache=cache, visible_BT=self.visible_BT, lengths_B=self.lengths_B)
        twin.logits_BV = self.logits_BV
        return twin

    def select(self, rows: Sequence[int]) -> None:
        """Keep some rows alone, in the order given."""
        index = torch.as_tensor(list(rows), device=self.visible_BT.device)
        self.cache.batch_select_indices(index)
        self.visible_BT, self.lengths_B = self.visible_BT[index], self.lengths_B[index]
        self.logits_BV = self.logits_BV[index]

    def _forward(self, ids_BN: Tensor, positions_BN: Tensor, sees_BNN: Tensor, *, keep: int) -> Tensor:
        """One pass; `sees_BNN` says which new places each new place sees; of what was read it sees all tokens."""
        new = ids_BN.shape[1]
        sees = torch.cat([self.visible_BT[:, None, :].expand(-1, new, -1), sees_BNN], dim=2)
        # Not -inf: a place of padding sees nothing, and a softmax over nothing would be NaN.
        hidden = torch.finfo(self.module.dtype).min
        mask = torch.zeros(sees.shape, dtype=self.module.dtype, device=sees.device).masked_fill_(~sees, hidden)
        output = self.module(
            input_ids=ids_BN,
            attention_mask=mask[:, None],
            position_ids=positions_BN,
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=keep,
        )
        logits: Tensor = output.logits.float()
        return logits


@torch.inference_mode()
def read_prefix(module: Any, ids: NDArray[np.int32]) -> Prefix:
    """Read the beginning that prompts share."""
    reading = _start(module, batch=1, prefix=None)
    reading.advance([ids.tolist()])
    return Prefix(ids, tuple((layer.keys, layer.values) for layer in reading.cache.layers))


@torch.inference_mode()
def read_prompts(module: Any, prompts: Sequence[NDArray[np.int32]], *, prefix: Prefix | None = None) -> Reading:
    """Read prompts, those parts that are not in `prefix`; one that does not begin with it is an error of ours."""
    skip = 0 if prefix is None else len(prefix.ids)
    assert prefix is None or all(np.array_equal(ids[:skip], prefix.ids) for ids in prompts)
    reading = _start(module, batch=len(prompts), prefix=prefix)
    reading.advance([ids[skip:].tolist() for ids in prompts])
    return reading


def shared_start(first: NDArray[np.int32], second: NDArray[np.int32]) -> NDArray[np.int32] | None:
    """What two prompts begin with in common, a token short of either's end; null if it is too short to matter."""
    length = min(len(first), len(second)) - 1
    same = first[:length] == second[:length]
    common = length if same.all() else int(same.argmin())
    return first[:common] if common >= LEAST_PREFIX else None


def _start(module: Any, *, batch: int, prefix: Prefix | None) -> Reading:
    cache, length = DynamicCache(), 0
    if prefix is not None:
        length = len(prefix.ids)
        for index, (keys, values) in enumerate(prefix.layers):
            cache.update(keys.expand(batch, -1, -1, -1), values.expand(batch, -1, -1, -1), index)
    visible = torch.ones((batch, length), dtype=torch.bool, device=module.device)
    return Reading(
        module, cache=cache, visible_BT=visible, lengths_B=torch.full((batch,), length, device=module.device)
    )
