"""A mixture as prompts with answers: what a decoder learns from, an example for every task of every row.

A row of two tasks is two examples, or one where a prompt asks both at once. Examples of one prompt form a part of the
mixture, so that the mixture's temperature weighs tasks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset, Sampler

from taskmix.data.dataset import Row
from taskmix.modeling.answers import TaskHead
from taskmix.modeling.prompt_tokens import PromptTokens
from taskmix.modeling.prompts import TaskPrompt
from taskmix.training.batches import BatchPlan
from taskmix.training.packing import PromptedAnswer, Weighted, collate_packed


class PromptedMixture(Dataset[Weighted]):
    """The examples that rows make, in tokens; an item is its own place and weight, collated by `collate`."""

    def __init__(self, rows: Sequence[Row], *, asker: PromptTokens, heads: Mapping[str, TaskHead]) -> None:
        self.prompts = asker.prompts.prompts
        parts = [list(_examples(rows, prompt=prompt, asker=asker, heads=heads)) for prompt in self.prompts]
        self.sizes = tuple(len(part) for part in parts)
        self.examples = [example for part in parts for example in part]
        self.prompt_of = np.repeat(np.arange(len(parts)), self.sizes)
        """(examples,) which of `prompts` each example was asked with."""

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(examples,) tokens that a model reads of each."""
        return np.asarray([len(example) for example in self.examples], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, place: Weighted) -> Weighted:
        return place

    def collate(self, places: Sequence[Weighted]) -> dict[str, Any]:
        """The packed row of these places."""
        return collate_packed([self.examples[place.index] for place in places], [place.weight for place in places])

    def collate_plain(self, indices: Sequence[int]) -> dict[str, Any]:
        """The packed row of these examples, none weighted."""
        return self.collate([Weighted(index, 1.0) for index in indices])


class WeightedPlan(Sampler[list[Weighted]]):
    """A plan's batches, each place with its share of the optimizer step: one over the step's examples."""

    def __init__(self, plan: BatchPlan) -> None:
        self._plan = plan

    def __len__(self) -> int:
        return len(self._plan)

    def __iter__(self) -> Iterator[list[Weighted]]:
        for batch, rows in zip(self._plan, self._plan.step_rows, strict=True):
            yield [Weighted(index, 1 / rows) for index in batch]

    def set_epoch(self, epoch: int) -> None:
        """Give the batches of `epoch` from the next iteration on."""
        self._plan.set_epoch(epoch)


def _examples(
    rows: Sequence[Row], *, prompt: TaskPrompt, asker: PromptTokens, heads: Mapping[str, TaskHead]
) -> Iterator[PromptedAnswer]:
    """The rows that have a known label of every task of the prompt."""
    for row in rows:
        if all(task in row.labels and _known(row.labels[task], heads[task]) for task in prompt.tasks):
            asked = asker.ask(prompt, row.text)
            yield PromptedAnswer(asked.ids, asker.answer(prompt, row.labels, asked))


def _known(label: object, head: TaskHead) -> bool:
    """Whether the label space holds it; dev may show labels that train does not."""
    if isinstance(label, str):
        return label in head.labels
    assert isinstance(label, tuple)
    return all(span.slot in head.labels for span in label)
