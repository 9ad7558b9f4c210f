"""What slot answers are made of, for `slot_grammar`: pieces as moves, tries of their tokens, and the words to copy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass, field
from functools import cached_property

from taskmix.data.schema import Span

Tokens = tuple[int, ...]


@dataclass(frozen=True)
class Open:
    """A line opens, for words that `slot` names: those at the `rank`-th place, from 1, where the text has them."""

    task: int
    slot: str
    rank: int


@dataclass(frozen=True)
class Nothing:
    """A task has no spans."""

    task: int


@dataclass(frozen=True)
class End:
    """The answer ends."""


@dataclass(frozen=True)
class Copy:
    """One more word is copied; `starts` are where the words so far, this one included, begin in the text."""

    starts: tuple[int, ...]


Move = Open | Nothing | End | Copy


@dataclass
class PieceTrie:
    """A trie of pieces: what tokens may follow, and the moves whose pieces end here."""

    following: dict[int, PieceTrie] = field(default_factory=dict)
    moves: list[Move] = field(default_factory=list)

    def add(self, ids: Tokens, move: Move) -> None:
        """Let `ids` lead to `move`."""
        node = self
        for token in ids:
            node = node.following.setdefault(token, PieceTrie())
        node.moves.append(move)


@dataclass(frozen=True)
class Copying:
    """Within a line: `length` words are copied, from one of `starts`."""

    slot: str
    rank: int
    starts: tuple[int, ...]
    length: int
    opened: int
    """Place in the answer of the opening's first token."""

    @property
    def span(self) -> Span:
        """What is copied so far."""
        start = self.starts[self.rank - 1]
        return Span(start, start + self.length, self.slot)


@dataclass(frozen=True)
class Words:
    """The words of a text, by key."""

    keys: tuple[Hashable, ...]

    @cached_property
    def copyable(self) -> tuple[int, ...]:
        """The words that have tokens to be copied by."""
        return tuple(place for place, key in enumerate(self.keys) if isinstance(key, tuple))

    @cached_property
    def most_repeated(self) -> tuple[int, ...]:
        """For each word, how often the most frequent of the words from it on stands there; 0 after the last."""
        counts: Counter[Hashable] = Counter()
        most = [0] * (len(self.keys) + 1)
        for place in range(len(self.keys) - 1, -1, -1):
            counts[self.keys[place]] += isinstance(self.keys[place], tuple)
            most[place] = max(most[place + 1], counts[self.keys[place]])
        return tuple(most)


def next_words(copying: Copying, text: Words) -> PieceTrie:
    """The words that may be copied next: those of which `rank` occurrences are left."""
    following: dict[Hashable, list[int]] = {}
    for start in copying.starts:
        place = start + copying.length
        if place < len(text.keys) and isinstance(text.keys[place], tuple):
            following.setdefault(text.keys[place], []).append(start)
    root = PieceTrie()
    for ids, starts in following.items():
        if len(starts) >= copying.rank:
            assert isinstance(ids, tuple)
            root.add(ids, Copy(tuple(starts)))
    return root
