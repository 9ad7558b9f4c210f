"""Writing with a language model, greedily and in batches: under a grammar, or freely.

Both go on from a `Reading` and use it up. Rows that are done leave the batch.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import torch

from taskmix.modeling.reading import Reading
from taskmix.modeling.slot_grammar import Place, SlotGrammar

NEVER = float("-inf")


@dataclass(frozen=True)
class Written:
    """What a model wrote freely.

    Attributes:
        ids: its tokens, without the end.
        log_probability: of writing all of it.
        ended: whether it came to an end; else it was cut.
    """

    ids: tuple[int, ...]
    log_probability: float
    ended: bool


@dataclass(frozen=True)
class WrittenSlots:
    """What a model wrote under a grammar.

    Attributes:
        place: the answer's end; it holds the spans.
        log_probabilities: one a span of `place.said`: of opening it so, copying its words and stopping there, among the
            tokens that the grammar allowed.
    """

    place: Place
    log_probabilities: tuple[float, ...]


@torch.inference_mode()
def write_slots(reading: Reading, grammar: SlotGrammar, *, keys: Sequence[Sequence[Hashable]]) -> list[WrittenSlots]:
    """The answer of the likeliest allowed token after the other, for each row; where one is allowed, none is weighed.

    Args:
        reading: the prompts, read.
        grammar: of the answers.
        keys: the words of each row's text, as `SlotGrammar.begin` wants them.
    """
    places = [grammar.begin(words) for words in keys]
    sums: list[list[float]] = [[0.0] for _ in places]  # log-probability of an answer's first n tokens
    active = list(range(len(places)))
    feed = [_forced(places, sums, row) for row in active]
    while going := [index for index, row in enumerate(active) if not places[row].over]:
        if len(going) < len(active):
            reading.select(going)
        active = [active[index] for index in going]
        reading.advance([feed[index] for index in going])
        choices = _likeliest(reading, [places[row].allowed() for row in active])
        feed = []
        for row, (token, log_probability) in zip(active, choices, strict=True):
            places[row] = places[row].after(token)
            sums[row].append(sums[row][-1] + log_probability)
            feed.append([token, *_forced(places, sums, row)])
    return [_tell(place, row_sums) for place, row_sums in zip(places, sums, strict=True)]


@torch.inference_mode()
def write_freely(reading: Reading, *, end_ids: Sequence[int], limits: Sequence[int]) -> list[Written]:
    """The likeliest token after the other until `end_ids`, for each row.

    Args:
        reading: the prompts, read.
        end_ids: what ends an answer.
        limits: tokens of each row at most.
    """
    ids: list[list[int]] = [[] for _ in limits]
    sums = [0.0] * len(limits)
    active, end = list(range(len(limits))), list(end_ids)
    while active:
        best = reading.logits_BV.log_softmax(dim=-1).max(dim=-1)
        going = []
        for index, (row, log_probability, token) in enumerate(
            zip(active, best.values.tolist(), best.indices.tolist(), strict=True)
        ):
            ids[row].append(token)
            sums[row] += log_probability
            if ids[row][-len(end) :] != end and len(ids[row]) < limits[row]:
                going.append(index)
        if going and len(going) < len(active):
            reading.select(going)
        active = [active[index] for index in going]
        reading.advance([[ids[row][-1]] for row in active])
    ended = [row[-len(end) :] == end for row in ids]
    return [
        Written(tuple(row[: len(row) - len(end)] if done else row), log_probability, done)
        for row, log_probability, done in zip(ids, sums, ended, strict=True)
    ]


def _forced(places: list[Place], sums: list[list[float]], row: int) -> list[int]:
    """Move a row on over the tokens that are alone in being allowed; returns them."""
    tokens = []
    while len(allowed := places[row].allowed()) == 1:
        places[row] = places[row].after(allowed[0])
        sums[row].append(sums[row][-1])
        tokens += allowed
    return tokens


def _likeliest(reading: Reading, allowed: Sequence[Sequence[int]]) -> list[tuple[int, float]]:
    """The likeliest allowed token of each row, and its log-probability among those."""
    width = max(map(len, allowed))
    padded = torch.tensor([[*row, *[row[0]] * (width - len(row))] for row in allowed])
    real = torch.tensor([[True] * len(row) + [False] * (width - len(row)) for row in allowed])
    device = reading.logits_BV.device
    logits = reading.logits_BV.gather(1, padded.to(device)).masked_fill(~real.to(device), NEVER)
    best = logits.log_softmax(dim=-1).max(dim=-1)
    return [
        (row[index], value)
        for row, index, value in zip(allowed, best.indices.tolist(), best.values.tolist(), strict=True)
    ]


def _tell(place: Place, sums: Sequence[float]) -> WrittenSlots:
    """A span's tokens, and the one after it, which says that its words end there."""
    return WrittenSlots(place, tuple(sums[said.tokens[1] + 1] - sums[said.tokens[0]] for said in place.said))
