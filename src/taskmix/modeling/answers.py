"""What a model answers: the types that evaluation records and serving sends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from taskmix.data.schema import LabelSpace, Span
from taskmix.errors import UnknownTask

NO_ANSWER = "(no valid answer)"
"""Stands for a label where a model that writes freely named none of the task's: counted, never guessed."""

UNKNOWN_PROBABILITY = float("nan")
"""Of an answer whose model does not tell how sure it is: left out of calibration, null in JSON, never made up."""


@dataclass(frozen=True)
class ClassificationAnswer:
    """One label for a text.

    Attributes:
        label: the most probable label, or `NO_ANSWER`.
        probability: its calibrated probability, in [0, 1]; 0 of no answer; `UNKNOWN_PROBABILITY` where it is not told.
        probabilities: (labels,) float32, calibrated, sums to 1, in the order of the task's label space; all 0 of no
            answer.
    """

    label: str
    probability: float
    probabilities: NDArray[np.float32]

    @property
    def valid(self) -> bool:
        """Whether it is one of the task's labels."""
        return self.label != NO_ANSWER


@dataclass(frozen=True)
class SlotsAnswer:
    """The labelled spans of a text, in its order, without overlap.

    Attributes:
        spans: in words of `split_words(text)`.
        probabilities: one a span, calibrated, in [0, 1]: of a tagger the least of its words' tag probabilities, of a
            language model that of writing the span.
        valid: whether a model that writes freely wrote spans of the text; where not, there are none.
    """

    spans: tuple[Span, ...]
    probabilities: tuple[float, ...]
    valid: bool = True


Answer = ClassificationAnswer | SlotsAnswer


@dataclass(frozen=True)
class TaskHead:
    """What a model knows of one task that it answers."""

    name: str
    type: str
    """`classification` or `slot_filling`."""
    labels: LabelSpace


class Model(Protocol):
    """A trained job, loaded: the one interface that evaluation, serving and `taskmix predict` use."""

    @property
    def heads(self) -> Mapping[str, TaskHead]:
        """The tasks that it answers, in its own order."""
        ...

    def predict(self, texts: Sequence[str], *, tasks: Sequence[str] | None = None) -> list[dict[str, Answer]]:
        """Answer tasks for texts, in the order given; batching and sorting by length happen inside.

        Args:
            texts: any number of texts, also empty ones.
            tasks: which tasks to answer; null answers all of `heads`.

        Returns:
            One dict a text, from task to answer, in the order of `tasks`.

        Raises:
            UnknownTask: a task is not one of `heads`.
        """
        ...


@dataclass(frozen=True)
class Receipt:
    """What asking came to, where each answer has a price.

    Attributes:
        requests: answers that were paid for.
        input_tokens: billed for prompts; of an answer whose tokens are not told, none.
        output_tokens: billed for answers.
        usd: by the tokens billed.
        unanswered_usd: the most that requests can have cost besides whose answer never came.
    """

    requests: int
    input_tokens: int
    output_tokens: int
    usd: float
    unanswered_usd: float


@dataclass(frozen=True)
class Consulted:
    """One text's answers from a model that is asked elsewhere.

    Attributes:
        answers: task to answer, in the order asked.
        seconds: until the last of them was there, as its requests took them.
        busy_seconds: of all its requests, one after another.
        usd: of all its requests.
    """

    answers: dict[str, Answer]
    seconds: float
    busy_seconds: float
    usd: float


@runtime_checkable
class Consultant(Model, Protocol):
    """A model that is asked elsewhere, at a price, and remembers what it was told: asking again tells no time."""

    @property
    def concurrency(self) -> int:
        """Requests that it has in flight at once, at most."""
        ...

    def consult(self, texts: Sequence[str], *, tasks: Sequence[str] | None = None) -> list[Consulted]:
        """Answer as `predict` does, with the time that each text took when it was asked."""
        ...

    def receipt(self) -> Receipt:
        """What all the answers given so far have cost, whenever they were paid for."""
        ...


def known_tasks(tasks: Sequence[str] | None, *, heads: Mapping[str, TaskHead]) -> tuple[str, ...]:
    """The tasks asked for, all of `heads` where none are named.

    Raises:
        UnknownTask: a task is not one of `heads`.
    """
    for task in tasks or ():
        if task not in heads:
            raise UnknownTask(f"task '{task}' is not one of {list(heads)}, which this model was trained on")
    return tuple(heads) if tasks is None else tuple(tasks)
