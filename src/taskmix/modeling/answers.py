"""What a model answers: the types that evaluation records and serving sends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from taskmix.data.schema import LabelSpace, Span
from taskmix.errors import UnknownTask

NO_ANSWER = "(no valid answer)"
"""Stands for a label where a model that writes freely named none of the task's: counted, never guessed."""


@dataclass(frozen=True)
class ClassificationAnswer:
    """One label for a text.

    Attributes:
        label: the most probable label, or `NO_ANSWER`.
        probability: its calibrated probability, in [0, 1]; 0 of no answer.
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


def known_tasks(tasks: Sequence[str] | None, *, heads: Mapping[str, TaskHead]) -> tuple[str, ...]:
    """The tasks asked for, all of `heads` where none are named.

    Raises:
        UnknownTask: a task is not one of `heads`.
    """
    for task in tasks or ():
        if task not in heads:
            raise UnknownTask(f"task '{task}' is not one of {list(heads)}, which this model was trained on")
    return tuple(heads) if tasks is None else tuple(tasks)
