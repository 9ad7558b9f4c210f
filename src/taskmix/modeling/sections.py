"""An answer in sections: a label to choose from a trie, or slots to write under a grammar, one after another.

The answer to one task is one section. The answer to several tasks is a section for each classification, in which the
model reads `task:` before it chooses, and one last section for all slot tasks. `AskedPrompt` is a prompt made ready for
one model: its sections, and what all its prompts begin with, read once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from typing import Any

import numpy as np

from taskmix.modeling.answer_format import label_pieces, no_spans_piece, opening_piece, task_piece
from taskmix.modeling.answers import TaskHead
from taskmix.modeling.label_trie import LabelTrie, build_trie, rows_at_once
from taskmix.modeling.prompt_tokens import Asked, PromptTokens
from taskmix.modeling.prompts import TaskPrompt
from taskmix.modeling.reading import Prefix, Reading, read_prefix, read_prompts, shared_start
from taskmix.modeling.slot_grammar import SlotGrammar
from taskmix.modeling.slot_pieces import Tokens

MOST_ROWS = 256
"""Of a batch, however short its texts. Arbitrary; answers do not depend on it."""


@dataclass(frozen=True)
class LabelSection:
    """A label to choose.

    Attributes:
        task: that it answers.
        opening_ids: read before the label.
        label_ids: the tokens of each label, without what follows.
        trie: of the labels and what follows them.
    """

    task: str
    opening_ids: Tokens
    label_ids: tuple[Tokens, ...]
    trie: LabelTrie


@dataclass(frozen=True)
class SlotSection:
    """Slots to write, to the answer's end."""

    grammar: SlotGrammar


Section = LabelSection | SlotSection


class AskedPrompt:
    """One of a job's prompts, ready to be asked of one model with its weights as they are."""

    def __init__(self, module: Any, *, prompt: TaskPrompt, heads: Mapping[str, TaskHead], asker: PromptTokens) -> None:
        self.prompt = prompt
        self.sections = make_sections(prompt, heads=heads, asker=asker)
        self._module = module
        self._shared = shared_start(asker.ask(prompt, "a").ids, asker.ask(prompt, "b").ids)
        sizes = [rows_at_once(section.trie, vocabulary=module.config.vocab_size) for section in self._labels]
        self.most_rows = min([MOST_ROWS, *sizes])
        self.longest_label = sum(max(map(len, section.label_ids)) for section in self._labels)

    @property
    def shared_tokens(self) -> int:
        """Tokens that every prompt begins with."""
        return 0 if self._shared is None else len(self._shared)

    def read(self, asked: Sequence[Asked]) -> Reading:
        """Read prompts; all but one in a great many begin as the others do."""
        alike = self._shared is not None and all(
            np.array_equal(each.ids[: len(self._shared)], self._shared) for each in asked
        )
        return read_prompts(self._module, [each.ids for each in asked], prefix=self._prefix if alike else None)

    @cached_property
    def _prefix(self) -> Prefix:
        assert self._shared is not None
        return read_prefix(self._module, self._shared)

    @property
    def _labels(self) -> list[LabelSection]:
        return [section for section in self.sections if isinstance(section, LabelSection)]


def make_sections(prompt: TaskPrompt, *, heads: Mapping[str, TaskHead], asker: PromptTokens) -> list[Section]:
    """The sections of the answer to `prompt`.

    Raises:
        DataError: the model's tokenizer cannot tell two labels apart.
    """
    labelled = [task for task in prompt.tasks if heads[task].type == "classification"]
    slotted = [task for task in prompt.tasks if heads[task].type == "slot_filling"]
    assert prompt.tasks == (*labelled, *slotted), "labels stand before slots"
    sections: list[Section] = [
        _label_section(task, prompt=prompt, head=heads[task], heads=heads, asker=asker) for task in labelled
    ]
    if slotted:
        slots = {task: heads[task].labels.labels for task in slotted}
        lead = "\n" if labelled else asker.style.lead
        sections.append(
            SlotSection(
                SlotGrammar(slots, lead, named=prompt.joint, end_ids=asker.style.end_ids, piece_ids=asker.piece_ids)
            )
        )
    return sections


def _label_section(
    task: str, *, prompt: TaskPrompt, head: TaskHead, heads: Mapping[str, TaskHead], asker: PromptTokens
) -> LabelSection:
    place = prompt.tasks.index(task)
    outer = "\n" if place else asker.style.lead
    opening = asker.piece_ids(task_piece(task, lead=outer)) if prompt.joint else ()
    lead = " " if prompt.joint else asker.style.lead
    ids = tuple(
        tuple(token for piece in label_pieces(label, lead=lead) for token in asker.piece_ids(piece))
        for label in head.labels.labels
    )
    following = asker.style.end_ids
    if place + 1 < len(prompt.tasks):
        following = _beginning(heads[prompt.tasks[place + 1]], asker=asker)
    trie = build_trie([(*label, *following) for label in ids], names=head.labels.labels)
    return LabelSection(task, opening, ids, trie)


def _beginning(head: TaskHead, *, asker: PromptTokens) -> Tokens:
    """What every answer to a further task begins with: it says that the label before it is complete."""
    if head.type == "classification":
        return asker.piece_ids(task_piece(head.name, lead="\n"))
    openings: Sequence[str] = [
        no_spans_piece(lead="\n", task=head.name),
        *(opening_piece(slot, rank=1, lead="\n", task=head.name) for slot in head.labels.labels),
    ]
    columns = zip(*(asker.piece_ids(piece) for piece in openings), strict=False)
    return tuple(column[0] for column in takewhile(lambda column: len(set(column)) == 1, columns))
