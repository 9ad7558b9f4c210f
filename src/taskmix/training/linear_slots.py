"""Slot filling by a linear SVM over each word's window, joined by transitions between tags."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taskmix.data.dataset import Label, Row
from taskmix.data.schema import LabelSpace, Span, spans_to_tags, split_words, tags_to_spans
from taskmix.modeling.calibration import fit_temperature
from taskmix.modeling.linear import LinearScores
from taskmix.modeling.linear_features import WindowFeatures
from taskmix.modeling.scores import span_f1
from taskmix.modeling.tagging import allowed_transitions, best_path
from taskmix.training.linear_svm import Candidate, LearntTask, LinearLesson, fit_svm, search_cost

TRANSITION_WEIGHTS = (0.0, 0.05, 0.1)
"""What one unit of log-probability of a transition is worth in margin; the value best on dev is taken. 0 keeps only
what BIO forbids. Above 0.1 MASSIVE's dev score falls fast."""
SMOOTHING = 0.1
"""Added to every count of transitions. Arbitrary."""


@dataclass(frozen=True)
class Tagger:
    """Scores of tags, and what one tag after another adds to them."""

    scores: LinearScores
    transitions: NDArray[np.float32]


def words_of(texts: Sequence[str]) -> list[list[str]]:
    """The words of each text."""
    return [[word.text for word in split_words(text)] for text in texts]


def fit_slots(lesson: LinearLesson, *, features: WindowFeatures) -> LearntTask:
    """Learn a slot-filling task; words of slots that the label space lacks count as outside."""
    labels, task = lesson.head.labels, lesson.head.name
    tags = [tag_ids(row, task=task, labels=labels) for row in lesson.train]
    train_WF = features.transform(words_of([row.text for row in lesson.train]))
    dev_WF = features.transform(words_of([row.text for row in lesson.dev]))
    log_probabilities = log_transitions(tags, labels=labels)
    gold_W = np.concatenate(tags)

    def learn(cost: float) -> Candidate[Tagger]:
        scores = fit_svm(train_WF, gold_W, classes=len(labels.tags), cost=cost, seed=lesson.seed)
        taggers = [
            Tagger(scores, weighed(log_probabilities, weight=weight, labels=labels)) for weight in TRANSITION_WEIGHTS
        ]
        dev_scores = [dev_score(tagger, lesson=lesson, dev_WF=dev_WF) for tagger in taggers]
        best = int(np.argmax(dev_scores))
        return Candidate(taggers[best], dev_scores[best], f"C={cost:g}, transitions x {TRANSITION_WEIGHTS[best]:g}")

    tagger, history = search_cost(lesson.costs, task=task, fit=learn)
    dev_gold_W = np.concatenate(
        [np.empty(0, np.int64), *(tag_ids(row, task=task, labels=labels) for row in lesson.dev)]
    )
    learnable = np.isin(dev_gold_W, gold_W)  # a tag that train lacks has no probability to calibrate
    temperature = fit_temperature(tagger.scores(dev_WF)[learnable], dev_gold_W[learnable])
    return LearntTask(tagger.scores, temperature, history, transitions=tagger.transitions)


def dev_score(tagger: Tagger, *, lesson: LinearLesson, dev_WF: Any) -> float:
    """Span F1 on the dev rows, in [0, 1]; 1 where there is none.

    Args:
        tagger: to be scored.
        lesson: has the dev rows.
        dev_WF: (words of all dev rows, features).
    """
    tags = lesson.head.labels.tags
    gold = [as_spans(row.labels[lesson.head.name]) for row in lesson.dev]
    ends = np.cumsum([0, *(len(split_words(row.text)) for row in lesson.dev)])
    scores_WG = tagger.scores(dev_WF)
    paths = [best_path(scores_WG[left:right], transitions=tagger.transitions) for left, right in pairwise(ends)]
    return span_f1(gold, [tags_to_spans([tags[tag] for tag in path]) for path in paths])


def as_spans(label: Label) -> tuple[Span, ...]:
    """A slot task's label, which is spans."""
    assert isinstance(label, tuple)
    return label


def tag_ids(row: Row, *, task: str, labels: LabelSpace) -> NDArray[np.int64]:
    """BIO tags of the row's words, (words,), as indices into `labels.tags`."""
    known = [span for span in as_spans(row.labels[task]) if span.slot in labels]
    index = {tag: position for position, tag in enumerate(labels.tags)}
    tags = spans_to_tags(known, words=len(split_words(row.text)))
    return np.asarray([index[tag] for tag in tags], np.int64)


def log_transitions(tags: Sequence[NDArray[np.int64]], *, labels: LabelSpace) -> NDArray[np.float64]:
    """Smoothed log-probabilities of each tag after each other, (tags + 1, tags); the last row is for first words."""
    size = len(labels.tags)
    counts = np.full((size + 1, size), SMOOTHING)
    for text in tags:
        for before, after in pairwise([size, *text.tolist()]):
            counts[before, after] += 1
    log_probabilities: NDArray[np.float64] = np.log(counts / counts.sum(axis=1, keepdims=True))
    return log_probabilities


def weighed(log_probabilities: NDArray[np.float64], *, weight: float, labels: LabelSpace) -> NDArray[np.float32]:
    """What transitions add to margins: their weight times their log-probability, -inf where BIO forbids them."""
    return np.where(allowed_transitions(labels), weight * log_probabilities, -np.inf).astype(np.float32)
