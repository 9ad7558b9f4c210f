"""Batches by token budget: rows of about equal length together, so that hardly any computed token is padding.

Every epoch is planned before the first step, and every epoch has the same number of batches: the Trainer counts
epochs, learning rate and the place to resume from in batches.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from taskmix.data.mixture import Mixture, epoch_rows
from taskmix.data.schema import spans_to_tags, split_words
from taskmix.modeling.answers import TaskHead
from taskmix.modeling.tokens import TokenizedText, pad

IGNORED = -100
"""The class index that cross-entropy leaves out (torch's default)."""
POOL_BATCHES = 50
"""Batches cut from one pool of random rows sorted by length: lengths match, and company still varies. Arbitrary."""


class Cut(Protocol):
    """How an epoch's rows become batches: `plan_epoch` (padded) or `pack_epoch` (packed)."""

    def __call__(
        self,
        lengths: NDArray[np.int64],
        rows: NDArray[np.int64],
        /,
        *,
        tokens_per_batch: int,
        generator: np.random.Generator,
    ) -> list[list[int]]:
        """The batches, each within `tokens_per_batch` unless it is a single row."""
        ...


class TokenizedMixture(Dataset[int]):
    """A mixture's rows as sub-words and class indices; an item is its own index, collated by `collate`."""

    def __init__(self, mixture: Mixture, texts: Sequence[TokenizedText], *, heads: dict[str, TaskHead]) -> None:
        self.texts = texts
        self.sizes = mixture.sizes
        self.heads = heads
        self._labels = [
            {
                task: label_ids(label, text=row.text, tokens=tokens, head=heads[task])
                for task, label in row.labels.items()
            }
            for row, tokens in zip(mixture.rows, texts, strict=True)
        ]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(rows,) tokens of each row."""
        return np.asarray([len(text) for text in self.texts], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, index: int) -> int:
        return index

    def collate(self, indices: Sequence[int], *, pad_token_id: int) -> dict[str, Tensor | dict[str, Tensor]]:
        """A padded batch: input_ids (batch, tokens), attention_mask, and labels by task.

        Labels are (batch,) class indices for classification, (batch, tokens) tag indices for slot filling, int64;
        `IGNORED` where a row has no label of the task, or a token is no word's first sub-word.
        """
        ids_BT, mask_BT = pad([self.texts[index] for index in indices], pad_token_id=pad_token_id)
        labels: dict[str, Tensor] = {}
        for task, head in self.heads.items():
            shape = (len(indices),) if head.type == "classification" else tuple(ids_BT.shape)
            labels[task] = torch.full(shape, IGNORED, dtype=torch.long)
            for row, index in enumerate(indices):
                label = self._labels[index].get(task)
                if label is None:
                    continue
                if head.type == "classification":
                    labels[task][row] = int(label[0])
                else:
                    labels[task][row, : len(label)] = torch.from_numpy(label)
        return {"input_ids": ids_BT, "attention_mask": mask_BT, "labels": labels}


def label_ids(label: object, *, text: str, tokens: TokenizedText, head: TaskHead) -> NDArray[np.int64]:
    """A row's label as class indices: (1,) for classification, (tokens,) for slot filling."""
    if head.type == "classification":
        assert isinstance(label, str)
        return np.asarray([head.labels.index(label) if label in head.labels else IGNORED], dtype=np.int64)
    assert isinstance(label, tuple)
    known = [span for span in label if span.slot in head.labels]
    tags = spans_to_tags(known, words=len(split_words(text)))
    index = {tag: position for position, tag in enumerate(head.labels.tags)}
    ids = np.full(len(tokens), IGNORED, dtype=np.int64)
    for start, tag in zip(tokens.word_starts, tags, strict=True):
        if start >= 0:
            ids[start] = index[tag]
    return ids


def plan_epoch(
    lengths: NDArray[np.int64], rows: NDArray[np.int64], *, tokens_per_batch: int, generator: np.random.Generator
) -> list[list[int]]:
    """The batches of one epoch, in random order.

    Args:
        lengths: (all rows,) tokens of each row.
        rows: the epoch's rows in random order, as indices into `lengths`.
        tokens_per_batch: rows x longest row of a batch stay within this; a longer single row is a batch of its own.
        generator: decides the order of the batches.
    """
    per_pool = max(1, int(POOL_BATCHES * tokens_per_batch / max(1.0, float(lengths[rows].mean()))))
    batches: list[list[int]] = []
    for start in range(0, len(rows), per_pool):
        pool = rows[start : start + per_pool]
        width, batch = 0, list[int]()
        for row in pool[np.argsort(lengths[pool], kind="stable")]:
            width = max(width, int(lengths[row]))
            if batch and (len(batch) + 1) * width > tokens_per_batch:
                batches.append(batch)
                width, batch = int(lengths[row]), []
            batch.append(int(row))
        batches.append(batch)
    return [batches[index] for index in generator.permutation(len(batches))]


def pack_epoch(
    lengths: NDArray[np.int64], rows: NDArray[np.int64], *, tokens_per_batch: int, generator: np.random.Generator
) -> list[list[int]]:
    """The packed batches of one epoch: rows in their random order, as many as fit without padding. See `plan_epoch`.

    A batch that is not full costs nothing, since nothing is padded, so rows need not be sorted to fit.
    """
    batches: list[list[int]] = []
    room = 0
    for row in rows:
        room -= int(lengths[row])
        if room < 0 or not batches:
            batches.append([])
            room = tokens_per_batch - int(lengths[row])
        batches[-1].append(int(row))
    return batches


def split_to_count(batches: list[list[int]], *, count: int) -> list[list[int]]:
    """As many batches as `count`, the largest ones cut in two until there are enough (or all are single rows)."""
    result = list(batches)
    while len(result) < count:
        largest = max(range(len(result)), key=lambda index: len(result[index]))
        batch = result[largest]
        if len(batch) < 2:
            result.append(batch)  # fewer rows than processes: a row is seen twice
            continue
        result[largest : largest + 1] = [batch[0::2], batch[1::2]]
    return result


class BatchPlan(Sampler[list[int]]):
    """The batches of every epoch of a run, of which this process takes its share.

    Args:
        lengths: (rows,) tokens of each row of the mixture.
        sizes: how many rows each part of the mixture has, one part after another.
        epochs: how many epochs to plan.
        tokens_per_batch: budget of one optimizer step over all processes.
        temperature: of the mixture.
        seed: the plan is the same for the same seed.
        cut: how rows become batches.
        passes: forward passes of each process in one optimizer step, which share its budget.
        processes: how many take part.
        process: which of them this is, from 0.
    """

    def __init__(
        self,
        lengths: NDArray[np.int64],
        *,
        sizes: Sequence[int],
        epochs: int,
        tokens_per_batch: int,
        temperature: float,
        seed: int,
        cut: Cut = plan_epoch,
        passes: int = 1,
        processes: int = 1,
        process: int = 0,
    ) -> None:
        together = passes * processes
        budget = max(1, tokens_per_batch // together)
        plans = []
        for epoch in range(epochs):
            rows = epoch_rows(sizes, temperature=temperature, seed=seed, epoch=epoch)
            generator = np.random.default_rng([seed, epoch, 1])
            plans.append(cut(lengths, rows, tokens_per_batch=budget, generator=generator))
        count = -(-max(len(plan) for plan in plans) // together) * together
        plans = [split_to_count(plan, count=count) for plan in plans]
        own = slice(process, None, processes)
        self._plans = [plan[own] for plan in plans]
        self._step_rows = [_rows_by_step(plan, together=together)[own] for plan in plans]
        self._epoch = 0

    def __len__(self) -> int:
        return len(self._plans[0])

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self._plans[self._epoch])

    @property
    def step_rows(self) -> list[int]:
        """For each batch of the epoch, the rows of its whole optimizer step, those of other processes too."""
        return self._step_rows[self._epoch]

    def set_epoch(self, epoch: int) -> None:
        """Give the batches of `epoch` from the next iteration on."""
        self._epoch = epoch


def _rows_by_step(batches: list[list[int]], *, together: int) -> list[int]:
    """One number a batch: the rows of the `together` batches that make one optimizer step with it."""
    totals = [sum(map(len, batches[start : start + together])) for start in range(0, len(batches), together)]
    return [total for total in totals for _ in range(together)]
