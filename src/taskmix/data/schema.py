"""The types that every dataset ends in, whatever its source: words, spans, label spaces and the Parquet schema.

No reading, checking or writing here. All layers above use these types; evaluation and serving speak in them too.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

Split = Literal["train", "dev", "test"]
SPLITS: tuple[Split, ...] = ("train", "dev", "test")


class Word(NamedTuple):
    """A run of characters without white space, and where it stands in its text."""

    text: str
    start: int
    end: int
    """One past the last character."""


class Span(NamedTuple):
    """Words `start` to `end` (exclusive, counted from 0) of a text fill `slot`."""

    start: int
    end: int
    slot: str


def split_words(text: str) -> list[Word]:
    """The words of a text: maximal runs without white space. Slots are spans of these, in every dataset and model."""
    return [Word(match.group(), match.start(), match.end()) for match in re.finditer(r"\S+", text)]


@dataclass(frozen=True)
class LabelSpace:
    """The labels that one task can answer; the position is the class index.

    For slot filling the labels are the slots; `tags` gives the BIO tags built on them.
    """

    labels: tuple[str, ...]

    def index(self, label: str) -> int:
        """Class index of `label`.

        Raises:
            KeyError: the label is not in the space.
        """
        return self._positions[label]

    def __contains__(self, label: object) -> bool:
        return label in self._positions

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def tags(self) -> tuple[str, ...]:
        """`O`, then `B-slot`, `I-slot` for each slot: tag 0 is outside, 1 + 2i begins slot i, 2 + 2i continues it."""
        return ("O", *(f"{mark}-{slot}" for slot in self.labels for mark in "BI"))

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {label: position for position, label in enumerate(self.labels)}


def spans_to_tags(spans: Sequence[Span], *, words: int) -> list[str]:
    """BIO tags of a text of `words` words, one a word."""
    tags = ["O"] * words
    for span in spans:
        tags[span.start] = f"B-{span.slot}"
        tags[span.start + 1 : span.end] = [f"I-{span.slot}"] * (span.end - span.start - 1)
    return tags


def tags_to_spans(tags: Sequence[str]) -> list[Span]:
    """Spans of a sequence of BIO tags; an I- that follows no tag of its slot begins a span (the conll convention)."""
    spans: list[Span] = []
    start, slot = 0, ""
    for position, tag in enumerate([*tags, "O"]):
        mark, _, name = tag.partition("-")
        if slot and (mark != "I" or name != slot):
            spans.append(Span(start, position, slot))
            slot = ""
        if mark == "B" or (mark == "I" and not slot):
            start, slot = position, name
    return spans
