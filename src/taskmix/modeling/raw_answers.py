"""What a language model answers before calibration, and the answer that it becomes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from taskmix.data.schema import Span
from taskmix.modeling.answer_format import InvalidAnswer, Label, read_joint, read_label, read_spans
from taskmix.modeling.answers import NO_ANSWER, Answer, ClassificationAnswer, SlotsAnswer, TaskHead
from taskmix.modeling.calibration import softmax
from taskmix.modeling.prompts import TaskPrompt

LEAST_LOG = -50.0
"""Log-probabilities are cut here: beyond, a probability is 0 in every report."""


@dataclass(frozen=True)
class RawLabel:
    """Scores of a classification's labels.

    Attributes:
        scores_L: (labels,) float32 log-probabilities, or means of them; null of what is no answer.
    """

    scores_L: NDArray[np.float32] | None


@dataclass(frozen=True)
class RawSpans:
    """Spans, as the model wrote them.

    Attributes:
        spans: in the order of the text.
        log_probabilities: one a span.
        valid: whether what it wrote could be read.
    """

    spans: tuple[Span, ...]
    log_probabilities: tuple[float, ...]
    valid: bool = True


Raw = RawLabel | RawSpans


def calibrated(raw: Raw, *, head: TaskHead, temperature: float) -> Answer:
    """The answer, its probabilities sharpened or flattened by the task's temperature."""
    if isinstance(raw, RawSpans):
        probabilities = tuple(
            float(softmax(span_logits(value), temperature=temperature)[0]) for value in raw.log_probabilities
        )
        return SlotsAnswer(raw.spans, probabilities, raw.valid)
    if raw.scores_L is None:
        return ClassificationAnswer(NO_ANSWER, 0.0, np.zeros(len(head.labels), np.float32))
    shares = softmax(raw.scores_L, temperature=temperature)
    best = int(raw.scores_L.argmax())
    return ClassificationAnswer(head.labels.labels[best], float(shares[best]), shares.astype(np.float32))


def span_logits(log_probability: float) -> NDArray[np.float64]:
    """A span's probability as two logits, (right, wrong): what a temperature can divide."""
    log_p = min(max(log_probability, LEAST_LOG), -1e-9)
    return np.array([log_p - math.log(-math.expm1(log_p)), 0.0])


def read_written(
    words: str, *, log_probability: float, prompt: TaskPrompt, heads: Mapping[str, TaskHead], text: str
) -> dict[str, Raw]:
    """The answers in what a model wrote freely; each task's is as probable as the whole.

    Args:
        words: the answer.
        log_probability: of writing it.
        prompt: that was asked.
        heads: of its tasks.
        text: that was asked about.
    """
    read: dict[str, Label] = {}
    if prompt.joint:
        tasks = {task: (heads[task].type, heads[task].labels.labels) for task in prompt.tasks}
        read = read_joint(words, text=text, tasks=tasks)
    else:
        (task,) = prompt.tasks
        labels = heads[task].labels.labels
        try:
            spans = heads[task].type == "slot_filling"
            read[task] = read_spans(words, text=text, slots=labels) if spans else read_label(words, labels=labels)
        except InvalidAnswer:
            read = {}
    return {task: _as_raw(read.get(task), log_probability, heads[task]) for task in prompt.tasks}


def _as_raw(label: Label | None, log_probability: float, head: TaskHead) -> Raw:
    """A label read has the answer's probability, and the others share the rest evenly, as nothing is known of them."""
    if head.type == "slot_filling":
        spans = label if isinstance(label, tuple) else ()
        return RawSpans(spans, (log_probability,) * len(spans), label is not None)
    if label is None:
        return RawLabel(None)
    assert isinstance(label, str)
    size = len(head.labels)
    probability = math.exp(log_probability)
    scores = np.full(size, math.log(max((1 - probability) / max(size - 1, 1), math.exp(LEAST_LOG))), np.float32)
    scores[head.labels.index(label)] = max(log_probability, float(scores.max()))
    return RawLabel(scores)
