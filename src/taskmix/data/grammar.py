"""A small grammar and the utterances that it writes: what `format: generated` reads.

The grammar itself is data (`grammar.yaml`, whose head tells its notation). A pattern stands for all templates that its
choices allow; each template belongs to one split, so that test asks for what train has not said word for word, in part
by patterns and fillers that train has nothing of. Train is noisy on purpose: typing errors and wrong labels.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import yaml

from taskmix.data.schema import SPLITS, Split
from taskmix.errors import DataError

_CHOICE = re.compile(r"\(([^()]*)\)")
_SLOT = re.compile(r"\{(\w+)\}")
_TRIES = 200
"""New drafts of one example before its split counts as used up. Arbitrary."""
_FEW = 4
"""A pattern of fewer templates is not dealt out."""
_KEYBOARD = ("qwertyuiop", "asdfghjkl", "zxcvbnm")


@dataclass(frozen=True)
class Intent:
    """One intent.

    Attributes:
        name: the label.
        topic: the coarser label.
        weight: how often it is asked for, in proportion to the others.
        patterns: each dealt out to the splits.
        held_out: patterns of one split only; train has none.
    """

    name: str
    topic: str
    weight: float
    patterns: tuple[str, ...]
    held_out: Mapping[Split, tuple[str, ...]]


@dataclass(frozen=True)
class Fillers:
    """Words that fill slots; the held-out ones in test only."""

    common: tuple[str, ...]
    held_out: tuple[str, ...]


@dataclass(frozen=True)
class Grammar:
    """`grammar.yaml`, read; the shares are told there."""

    intents: tuple[Intent, ...]
    fillers: Mapping[str, Fillers]
    """By slot."""
    held_out_patterns: float
    held_out_fillers: float
    openers: tuple[str, ...]
    closers: tuple[str, ...]
    opener_share: float
    closer_share: float


@dataclass(frozen=True)
class Example:
    """One utterance and its labels."""

    text: str
    annotated: str
    """The text with `[slot : words]`."""
    intent: str
    topic: str


Piece = tuple[str, str | None]
"""Words, and the slot that they fill."""


def load_grammar() -> Grammar:
    """The grammar of this package."""
    tree: dict[str, Any] = yaml.safe_load((files("taskmix.data") / "grammar.yaml").read_text(encoding="utf-8"))
    intents = tuple(
        Intent(
            name,
            topic=entry["topic"],
            weight=entry["weight"],
            patterns=tuple(entry["patterns"]),
            held_out={"train": (), "dev": tuple(entry["held_out"]["dev"]), "test": tuple(entry["held_out"]["test"])},
        )
        for name, entry in tree["intents"].items()
    )
    fillers = {
        name: Fillers(_expand_all(entry["common"]), _expand_all(entry["held_out"]))
        for name, entry in tree["fillers"].items()
    }
    return Grammar(
        intents=intents,
        fillers={slot: fillers[name] for slot, name in tree["slots"].items()},
        held_out_patterns=tree["held_out_patterns"],
        held_out_fillers=tree["held_out_fillers"],
        openers=tuple(tree["openers"]),
        closers=tuple(tree["closers"]),
        opener_share=tree["opener_share"],
        closer_share=tree["closer_share"],
    )


def expand(pattern: str) -> list[str]:
    """All that the choices of a pattern allow: `(turn|put) it on` gives `turn it on` and `put it on`."""
    match = _CHOICE.search(pattern)
    if match is None:
        return [" ".join(pattern.split())]
    before, after = pattern[: match.start()], pattern[match.end() :]
    return [text for choice in match.group(1).split("|") for text in expand(before + choice + after)]


def deal_templates(pattern: str, *, seed: int) -> dict[Split, list[str]]:
    """A pattern's templates, each in one split: 6 of 10 in train, 1 in dev, 3 in test; few go to train, all."""
    templates = list(dict.fromkeys(expand(pattern)))
    if len(templates) < _FEW:
        return {"train": templates, "dev": [], "test": []}
    random.Random(f"{seed} {pattern}").shuffle(templates)
    dev, test = max(1, len(templates) // 10), max(1, 3 * len(templates) // 10)
    return {"train": templates[dev + test :], "dev": templates[:dev], "test": templates[dev : dev + test]}


def write_examples(
    grammar: Grammar, *, sizes: Mapping[Split, int], noise: float, seed: int
) -> dict[Split, list[Example]]:
    """Write a dataset; no text is in it twice.

    Args:
        grammar: what to write.
        sizes: examples of each split.
        noise: share of words of all splits that get a typing error, and of train examples with a wrong intent (and its
            topic) or, as often, a wrong slot. Labels of dev and test are right.
        seed: the same seed and sizes give the same examples.

    Raises:
        DataError: the grammar cannot write so many different texts.
    """
    seen: set[str] = set()
    return {
        split: _write_split(grammar, split, size=sizes[split], noise=noise, seed=seed, seen=seen) for split in SPLITS
    }


def _write_split(
    grammar: Grammar, split: Split, *, size: int, noise: float, seed: int, seen: set[str]
) -> list[Example]:
    rng = random.Random(f"{seed} {split}")
    weights = [intent.weight for intent in grammar.intents]
    templates = {intent.name: _templates_of(intent, split=split, seed=seed) for intent in grammar.intents}
    held_out = {intent.name: [expand(pattern) for pattern in intent.held_out[split]] for intent in grammar.intents}
    examples: list[Example] = []
    while len(examples) < size:
        for _ in range(_TRIES):
            intent = rng.choices(grammar.intents, weights)[0]
            unseen = split != "train" and rng.random() < grammar.held_out_patterns
            template = rng.choice(rng.choice((held_out if unseen else templates)[intent.name]))
            pieces = _misspell(_draft(grammar, template, split=split, rng=rng), noise=noise, rng=rng)
            text = " ".join(words for words, _ in pieces)
            if text not in seen:
                break
        else:
            raise DataError(
                f"generated {split}: the grammar cannot write {size} different texts (it ended at {len(examples)}); "
                f"lower '{split}' of the dataset"
            )
        seen.add(text)
        if split == "train":
            intent, pieces = _mislabel(grammar, intent, pieces, noise=noise, rng=rng)
        annotated = " ".join(f"[{slot} : {words}]" if slot else words for words, slot in pieces)
        examples.append(Example(text, annotated, intent.name, intent.topic))
    return examples


def _templates_of(intent: Intent, *, split: Split, seed: int) -> list[list[str]]:
    dealt = [deal_templates(pattern, seed=seed)[split] for pattern in intent.patterns]
    return [templates for templates in dealt if templates]


def _draft(grammar: Grammar, template: str, *, split: Split, rng: random.Random) -> list[Piece]:
    pieces: list[Piece] = []
    if rng.random() < grammar.opener_share:
        pieces.append((rng.choice(grammar.openers), None))
    for index, part in enumerate(_SLOT.split(template)):
        if index % 2:
            fillers = grammar.fillers[part]
            unseen = split == "test" and rng.random() < grammar.held_out_fillers
            pieces.append((rng.choice(fillers.held_out if unseen else fillers.common), part))
        elif part.strip():
            pieces.append((part.strip(), None))
    if rng.random() < grammar.closer_share:
        pieces.append((rng.choice(grammar.closers), None))
    return pieces


def _expand_all(patterns: Iterable[str]) -> tuple[str, ...]:
    return tuple(text for pattern in patterns for text in expand(pattern))


def _misspell(pieces: list[Piece], *, noise: float, rng: random.Random) -> list[Piece]:
    return [
        (" ".join(_mistype(word, rng=rng) if rng.random() < noise else word for word in words.split()), slot)
        for words, slot in pieces
    ]


def _mistype(word: str, *, rng: random.Random) -> str:
    """The word with one typing error: a letter left out, doubled, swapped with the next, or its neighbour's key hit."""
    if len(word) < 3 or not word.isalpha():
        return word
    at = rng.randrange(len(word) - 1)
    row = next((keys for keys in _KEYBOARD if word[at] in keys), word[at])
    near = row[min(row.index(word[at]) + 1, len(row) - 1)]
    return rng.choice(
        (
            word[:at] + word[at + 1 :],
            word[:at] + word[at] + word[at:],
            word[:at] + word[at + 1] + word[at] + word[at + 2 :],
            word[:at] + near + word[at + 1 :],
        )
    )


def _mislabel(
    grammar: Grammar, intent: Intent, pieces: list[Piece], *, noise: float, rng: random.Random
) -> tuple[Intent, list[Piece]]:
    if rng.random() < noise:
        intent = rng.choice([other for other in grammar.intents if other is not intent])
    marked = [index for index, (_, slot) in enumerate(pieces) if slot]
    if marked and rng.random() < noise:
        at = rng.choice(marked)
        slot = rng.choice([None, *(other for other in grammar.fillers if other != pieces[at][1])])
        pieces = [*pieces[:at], (pieces[at][0], slot), *pieces[at + 1 :]]
    return intent, pieces
