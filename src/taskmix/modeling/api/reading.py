"""From a reply to answers: read exactly or counted as invalid, with the probability that the endpoint tells, or none.

The probability of an answer is the product of its tokens' probabilities: how likely the model was to write just this,
as the endpoint tells it (`logprobs`). It is not calibrated, since dev is not asked, which would cost as much again.
Where the endpoint tells none, the probability is unknown (NaN), never made up.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from taskmix.data.schema import Span
from taskmix.modeling.answer_format import InvalidAnswer, Label, read_joint, read_label, read_spans, words_of
from taskmix.modeling.answers import (
    NO_ANSWER,
    UNKNOWN_PROBABILITY,
    Answer,
    ClassificationAnswer,
    SlotsAnswer,
    TaskHead,
)
from taskmix.modeling.api.reply import Reply
from taskmix.modeling.api.request import Question
from taskmix.modeling.api.structured import read_structured
from taskmix.modeling.cutting import ShownText


def read_answers(reply: Reply, question: Question, *, heads: Mapping[str, TaskHead]) -> dict[str, Answer]:
    """Every task of a question to its answer; one that is not there, or none of the task's, is invalid."""
    labels = read_labels(reply, question, heads=heads)
    return {
        task: make_answer(labels.get(task), heads[task], reply=reply, question=question)
        for task in question.prompt.tasks
    }


def read_labels(reply: Reply, question: Question, *, heads: Mapping[str, TaskHead]) -> dict[str, Label]:
    """The valid answers, spans in words of what the endpoint was shown; an answer that was cut is none."""
    if reply.content is None or reply.finish_reason == "length":
        return {}
    tasks, text, content = question.prompt.tasks, question.shown.text, reply.content
    if content.lstrip().startswith("{"):
        return read_structured(content, text=text, tasks=tasks, heads=heads)
    if question.prompt.joint:
        kinds = {task: (heads[task].type, heads[task].labels.labels) for task in tasks}
        return read_joint(content, text=text, tasks=kinds)
    head = heads[tasks[0]]
    try:
        if head.type == "classification":
            return {tasks[0]: read_label(content, labels=head.labels.labels)}
        return {tasks[0]: read_spans(content, text=text, slots=head.labels.labels)}
    except InvalidAnswer:
        return {}


def make_answer(label: Label | None, head: TaskHead, *, reply: Reply, question: Question) -> Answer:
    """One task's answer in the form of every model."""
    if head.type == "classification":
        assert label is None or isinstance(label, str)
        return _classified(label, head, reply=reply)
    assert not isinstance(label, str)
    return _slots(label, head, reply=reply, shown=question.shown)


def _classified(label: str | None, head: TaskHead, *, reply: Reply) -> ClassificationAnswer:
    labels = head.labels
    if label is None:
        return ClassificationAnswer(NO_ANSWER, 0.0, np.zeros(len(labels), np.float32))
    place = place_of([label], content=reply.content or "", after=start_of(head.name, content=reply.content or ""))
    probability = written_probability(reply, place)
    # The endpoint tells of no other label: they share what is left evenly.
    probabilities = np.full(len(labels), (1.0 - probability) / max(len(labels) - 1, 1), np.float32)
    probabilities[labels.index(label)] = probability
    return ClassificationAnswer(label, probability, probabilities)


def _slots(label: Sequence[Span] | None, head: TaskHead, *, reply: Reply, shown: ShownText) -> SlotsAnswer:
    whole = [whole_span(span, shown=shown) for span in label or ()]
    spans = tuple(span for span in whole if span is not None)
    if label is None or len(spans) < len(whole):
        return SlotsAnswer((), (), valid=False)
    words, content = words_of(shown.text), reply.content or ""
    at = start_of(head.name, content=content)
    probabilities = []
    for span in label:
        place = place_of([span.slot, *words[span.start : span.end]], content=content, after=at)
        probabilities.append(written_probability(reply, place))
        at = place[1] if place else at
    return SlotsAnswer(spans, tuple(probabilities))


def whole_span(span: Span, *, shown: ShownText) -> Span | None:
    """A span of what was shown, in words of the whole text; null if it holds words that the text does not."""
    places = [place for place, word in enumerate(shown.words) if word is not None]
    gap = next((place for place, word in enumerate(shown.words) if word is None), len(shown.words))
    before = sum(place < gap for place in places)
    hidden = len(words_of(shown.text)) - len(places)
    if span.end <= before:
        return span
    if span.start >= before + hidden:
        moved = len(shown.words) - len(words_of(shown.text))
        return Span(span.start + moved, span.end + moved, span.slot)
    return None


def start_of(task: str, *, content: str) -> int:
    """Where the answer to `task` begins: at its name, in JSON or in lines; at 0 where no name is written."""
    return max(content.find(f'"{task}":'), content.find(f"{task}: "), 0)


def place_of(parts: Sequence[str], *, content: str, after: int) -> tuple[int, int] | None:
    """The characters from the first to the last of `parts`, which stand one after another; null if they do not."""
    first, end = -1, after
    for part in parts:
        found = content.find(part, end)
        if found < 0:
            return None
        first, end = found if first < 0 else first, found + len(part)
    return first, end


def written_probability(reply: Reply, place: tuple[int, int] | None) -> float:
    """The probability of the tokens that the characters of `place` are written with; NaN where it is not told."""
    tokens = reply.tokens
    if place is None or tokens is None or "".join(token.token for token in tokens) != reply.content:
        return UNKNOWN_PROBABILITY
    at, total = 0, 0.0
    for token in tokens:
        if at < place[1] and at + len(token.token) > place[0]:
            total += token.logprob
        at += len(token.token)
    return math.exp(min(total, 0.0))
