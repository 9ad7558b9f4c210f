"""Texts to sub-words, and sub-words to words: what every encoder needs before its first layer.

Slots are tagged on the first sub-word of each word. The text is tokenized as it stands, not word by word, so that
classification and slot filling see the same tokens and one forward pass serves both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer
from torch import Tensor

from taskmix.data.schema import split_words
from taskmix.errors import BundleError

PADDING_PER_BATCH = 64
"""Tokens of padding that cost about as much as one more call of a small encoder on a CPU core; measured roughly."""


@dataclass(frozen=True)
class TokenizedText:
    """One text as sub-words.

    Attributes:
        ids: (tokens,) int32, special tokens included.
        word_starts: (words,) int32, position of each word's first sub-word (of its last, for a model that reads
            forwards only); -1 where the text was cut before it.
    """

    ids: NDArray[np.int32]
    word_starts: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.ids)


def load_tokenizer(source: str | Path, *, revision: str | None = None) -> Any:
    """The fast tokenizer at `source`.

    Raises:
        BundleError: there is only a slow one, which cannot tell where in the text a sub-word stands.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(source), revision=revision, use_fast=True)
    if not getattr(tokenizer, "is_fast", False):
        raise BundleError(f"{source}: has no fast tokenizer (tokenizer.json); convert it with the tokenizers library")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def tokenize(
    texts: Sequence[str], *, tokenizer: Any, max_tokens: int | None, pooling: str = "mean"
) -> list[TokenizedText]:
    """Sub-words of every text; text beyond `max_tokens` (special tokens counted) is cut at the end, by null nothing.

    With pooling `last` words are told by their last sub-word, since a causal model has read them only there.
    """
    if not texts:
        return []
    find = last_subwords if pooling == "last" else first_subwords
    nothing = [tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id]
    return [
        TokenizedText(np.asarray(encoded.ids or nothing, dtype=np.int32), find(text, encoded.offsets))
        for text, encoded in zip(texts, _encode(texts, tokenizer=tokenizer, max_tokens=max_tokens), strict=True)
    ]


def _encode(texts: Sequence[str], *, tokenizer: Any, max_tokens: int | None) -> list[Encoding]:
    """What `tokenizer(texts, truncation=...)` makes its lists of: making them takes as long again as tokenizing."""
    backend: Tokenizer = tokenizer.backend_tokenizer
    backend.no_padding()
    backend.encode_special_tokens = tokenizer.split_special_tokens
    if max_tokens is None:
        backend.no_truncation()
    else:
        backend.enable_truncation(max_tokens, direction=tokenizer.truncation_side)
    encoded: list[Encoding] = backend.encode_batch(list(texts))
    return encoded


def first_subwords(text: str, offsets: Sequence[tuple[int, int]]) -> NDArray[np.int32]:
    """Position of the first sub-word of each word, (words,) int32; -1 for a word that no sub-word covers.

    Some tokenizers count the blank before a word as part of it, and a sub-word may span two words: so a word's first
    sub-word is the first whose characters overlap it.
    """
    starts = []
    position = 0
    for word in split_words(text):
        while position < len(offsets) and (
            offsets[position][1] <= word.start or offsets[position][0] == offsets[position][1]
        ):
            position += 1
        covered = position < len(offsets) and offsets[position][0] < word.end
        starts.append(position if covered else -1)
    return np.asarray(starts, dtype=np.int32)


def last_subwords(text: str, offsets: Sequence[tuple[int, int]]) -> NDArray[np.int32]:
    """Position of the last sub-word of each word, (words,) int32; -1 for a word that is not covered to its end."""
    ends, position = [], 0
    for word in split_words(text):
        while position < len(offsets) and offsets[position][1] < word.end:
            position += 1
        ends.append(position if position < len(offsets) else -1)
    return np.asarray(ends, dtype=np.int32)


def pad(texts: Sequence[TokenizedText], *, pad_token_id: int) -> tuple[Tensor, Tensor]:
    """A batch: ids (batch, tokens) int64 and attention mask (batch, tokens) int64, padded to its longest text."""
    longest = max(len(text) for text in texts)
    ids_BT = np.full((len(texts), longest), pad_token_id, dtype=np.int64)
    mask_BT = np.zeros((len(texts), longest), dtype=np.int64)
    for row, text in enumerate(texts):  # in numpy: torch takes three times as long to write so few numbers
        ids_BT[row, : len(text)] = text.ids
        mask_BT[row, : len(text)] = 1
    return torch.from_numpy(ids_BT), torch.from_numpy(mask_BT)


def batches_by_length(lengths: Sequence[int], *, tokens_per_batch: int) -> list[list[int]]:
    """Indices of texts in batches of about equal length, longest first, padding counted against the budget.

    One padded batch of mixed lengths computes several times the tokens it needs; sorted, few are padding. A batch
    also ends where padding would cost more than beginning another does (`PADDING_PER_BATCH`): one long text would drag
    short ones up to its length otherwise.
    """
    batches: list[list[int]] = []
    width = padding = 0
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        padding += width - lengths[index]
        if batches and padding <= PADDING_PER_BATCH and (len(batches[-1]) + 1) * width <= tokens_per_batch:
            batches[-1].append(index)
        else:
            batches.append([index])
            width, padding = max(1, lengths[index]), 0
    return batches
