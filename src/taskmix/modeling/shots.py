"""Examples for prompts: drawn from train, seeded, one a label as far as the number goes."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Hashable, Sequence

import numpy as np

from taskmix.data.dataset import Row
from taskmix.data.schema import Span
from taskmix.modeling.answer_format import Label
from taskmix.modeling.cutting import ShownText, cut_middle, show_whole
from taskmix.modeling.prompts import Shot, TaskPrompt

SHARE_OF_SHOTS = 0.5
"""Of the room that a prompt leaves, for the examples' texts; the rest is the text's own. Arbitrary."""
LEAST_SHOT = 12
"""Least room for an example, in the units of `fit_shots`; with less for each, fewer are shown. Arbitrary."""


def draw_shots(rows: Sequence[Row], *, prompt: TaskPrompt, count: int, seed: int) -> tuple[Shot, ...]:
    """`count` examples for a prompt, in random order; the same for the same rows, seed and tasks.

    Rows are gone through in random order, round by round. In a round a label is shown once (of slots, the set of slots
    that a text fills counts as its label), so that five examples show five labels where there are as many. Only rows
    with a label of every task of the prompt serve. Fewer than `count` come back if there are fewer.
    """
    generator = np.random.default_rng([seed, zlib.crc32("+".join(prompt.tasks).encode())])
    order = [rows[index] for index in generator.permutation(len(rows))]
    waiting = [row for row in order if all(task in row.labels for task in prompt.tasks)]
    chosen: list[Row] = []
    while waiting and len(chosen) < count:
        seen: set[Hashable] = set()
        left: list[Row] = []
        for row in waiting:
            kinds = tuple(_kind(row.labels[task]) for task in prompt.tasks)
            if kinds in seen or len(chosen) == count:
                left.append(row)
            else:
                seen.add(kinds)
                chosen.append(row)
        waiting = left
    return tuple(Shot(text=row.text, answers={task: row.labels[task] for task in prompt.tasks}) for row in chosen)


def fit_shots(prompt: TaskPrompt, shots: Sequence[Shot], *, room: int, size: Callable[[str], int]) -> tuple[Shot, ...]:
    """The examples that fit beside the text, long ones cut in their middle, all to the same size.

    Args:
        prompt: that they stand in.
        shots: as drawn.
        room: what header and question leave of a prompt, in units of `size`: tokens, or characters.
        size: of words of a prompt.
    """
    budget = int(room * SHARE_OF_SHOTS)
    while shots and budget // len(shots) < LEAST_SHOT:
        shots = shots[:-1]
    return tuple(_fit(prompt, shot, budget=budget // len(shots), size=size) for shot in shots)


def _fit(prompt: TaskPrompt, shot: Shot, *, budget: int, size: Callable[[str], int]) -> Shot:
    left, fitted = len(shot.text), shot
    while left and size(prompt.ask("", shots=[fitted]).shots[0][0] + " " + prompt.answer(fitted)) > budget:
        left = left * 3 // 4
        fitted = cut_shot(shot, cut_middle(shot.text, characters=left))
    return fitted


def cut_shot(shot: Shot, shown: ShownText) -> Shot:
    """The example with what is shown of its text; spans that are not shown are left out."""
    if shown == show_whole(shot.text):
        return shot
    places = [place for place, word in enumerate(shown.words) if word is not None]
    gap = next((place for place, word in enumerate(shown.words) if word is None), len(shown.words))
    before = sum(place < gap for place in places)
    hidden = len(shown.text.split()) - len(places)  # the gap, and parts of words, which stand around it
    moved = {place: index if index < before else index + hidden for index, place in enumerate(places)}

    def move(label: Label) -> Label:
        if isinstance(label, str):
            return label
        kept = [span for span in label if shown.shows(span)]
        return tuple(Span(moved[span.start], moved[span.end - 1] + 1, span.slot) for span in kept)

    return Shot(text=shown.text, answers={task: move(label) for task, label in shot.answers.items()})


def _kind(label: Label) -> Hashable:
    return label if isinstance(label, str) else frozenset(span.slot for span in label)
