"""Slot filling by a linear SVM over each word's window, joined by transitions between tags."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from taskmix.data.dataset import Row
from taskmix.data.schema import LabelSpace, Span, spans_to_tags, split_words, tags_to_spans
from taskmix.modeling.calibration import fit_temperature
from taskmix.modeling.linear import LinearScores, best_path
from taskmix.modeling.linear_features import WindowFeatures
from taskmix.modeling.scores import span_f1
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


def words_of(rows: Sequence[Row]) -> list[list[str]]:
    """The words of each row's text."""
    return [[word.text for word in split_words(row.text)] for row in rows]


def fit_slots(lesson: LinearLesson, *, features: WindowFeatures) -> LearntTask:
    """Learn a slot-filling task; words of slots that the label space lacks count as outside."""
    tags = tag_ids(lesson.train, task=lesson.head.name, labels=lesson.head.labels)
    train_WF = features.transform(words_of(lesson.train))
    dev_tags = tag_ids(lesson.dev, task=lesson.head.name, labels=lesson.head.labels)
    dev_WF = features.transform(words_of(lesson.dev)) if any(map(len, dev_tags)) else train_WF[:0]
    log_odds = log_transitions(tags, labels=lesson.head.labels)
    gold_W = np.concatenate(tags)

    def learn(cost: float) -> Candidate[Tagger]:
        scores = fit_svm(train_WF, gold_W, classes=len(lesson.head.labels.tags), cost=cost, seed=lesson.seed)
        return _best_weight(scores, scores(dev_WF), log_odds=log_odds, lesson=lesson, setting=f"C={cost:g}")

    tagger, history = search_cost(lesson.costs, task=lesson.head.name, fit=learn)
    dev_gold_W = np.concatenate([np.empty(0, np.int64), *dev_tags])
    learnable = np.isin(dev_gold_W, gold_W)  # a tag that train lacks has no probability to calibrate
    temperature = fit_temperature(tagger.scores(dev_WF)[learnable], dev_gold_W[learnable])
    return LearntTask(tagger.scores, temperature, history, transitions=tagger.transitions)


def _best_weight(
    scores: LinearScores,
    scores_WG: NDArray[np.float32],
    *,
    log_odds: NDArray[np.float64],
    lesson: LinearLesson,
    setting: str,
) -> Candidate[Tagger]:
    """The weight of transitions that is best on dev, the least of equals."""
    allowed = allowed_transitions(lesson.head.labels)
    tags = lesson.head.labels.tags
    ends = np.cumsum([len(split_words(row.text)) for row in lesson.dev])[:-1].astype(np.int64)
    gold = [known_spans(row.labels[lesson.head.name], labels=None) for row in lesson.dev]
    candidates = []
    for weight in TRANSITION_WEIGHTS:
        transitions = np.where(allowed, weight * log_odds, -np.inf).astype(np.float32)
        texts = np.split(scores_WG, ends) if lesson.dev else []
        predicted = [
            tags_to_spans([tags[tag] for tag in best_path(text_WG, transitions=transitions)]) for text_WG in texts
        ]
        tried = f"{setting}, transitions x {weight:g}"
        candidates.append(Candidate(Tagger(scores, transitions), span_f1(gold, predicted), tried))
    return max(candidates, key=lambda candidate: candidate.dev_score)


def known_spans(label: object, *, labels: LabelSpace | None) -> list[Span]:
    """The spans of a row's label, those whose slot is in `labels` (null: all)."""
    assert isinstance(label, tuple)
    return [span for span in label if labels is None or span.slot in labels]


def tag_ids(rows: Sequence[Row], *, task: str, labels: LabelSpace) -> list[NDArray[np.int64]]:
    """BIO tags of each row's words, as indices into `labels.tags`."""
    index = {tag: position for position, tag in enumerate(labels.tags)}
    return [
        np.asarray(
            [
                index[tag]
                for tag in spans_to_tags(known_spans(row.labels[task], labels=labels), words=len(split_words(row.text)))
            ],
            np.int64,
        )
        for row in rows
    ]


def log_transitions(tags: Sequence[NDArray[np.int64]], *, labels: LabelSpace) -> NDArray[np.float64]:
    """Smoothed log-probabilities of each tag after each other, (tags + 1, tags); the last row is for first words."""
    size = len(labels.tags)
    counts = np.full((size + 1, size), SMOOTHING)
    for text in tags:
        np.add.at(counts, (np.concatenate([[size], text[:-1]]).astype(np.int64)[: len(text)], text), 1.0)
    log_probabilities: NDArray[np.float64] = np.log(counts / counts.sum(axis=1, keepdims=True))
    return log_probabilities


def allowed_transitions(labels: LabelSpace) -> NDArray[np.bool_]:
    """Where BIO lets a tag follow another, (tags + 1, tags): an I- only goes on with a span of its slot."""
    size = len(labels.tags)
    allowed = np.ones((size + 1, size), np.bool_)
    for inside in range(2, size, 2):  # tag 1 + 2i begins slot i, tag 2 + 2i goes on with it
        allowed[:, inside] = False
        allowed[[inside - 1, inside], inside] = True
    return allowed
