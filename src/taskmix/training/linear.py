"""Training the linear model: a linear SVM a task, its C chosen on dev, probabilities calibrated on dev.

Dev rows are never learnt from, so that dev scores, temperatures and thresholds are honest, and comparable with those
of encoders. Deterministic: the same rows and seed give the same weights.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from taskmix.config.plan import JobSlice
from taskmix.config.schema import LinearModel
from taskmix.data.dataset import Row
from taskmix.errors import TrainingError
from taskmix.modeling.answers import TaskHead
from taskmix.modeling.bundle import TrainingRecord
from taskmix.modeling.calibration import fit_rejection_threshold, fit_temperature, softmax
from taskmix.modeling.linear import LinearScores, LinearWeights
from taskmix.modeling.linear_features import TextFeatures, WindowFeatures, fit_text_features, fit_window_features
from taskmix.training.linear_slots import fit_slots, words_of
from taskmix.training.linear_svm import Candidate, LearntTask, LinearLesson, fit_svm, search_cost

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainedLinear:
    """What training a linear job comes to: all that its bundle is made of."""

    model: LinearWeights
    temperatures: dict[str, float]
    rejection_thresholds: dict[str, float]
    record: TrainingRecord


def fit_linear(
    job: JobSlice, *, train: Sequence[Row], dev: Sequence[Row], heads: Mapping[str, TaskHead]
) -> TrainedLinear:
    """Train every task of `job`; a row lacks the labels of tasks that it is not labelled for.

    Args:
        job: the values of C to try, and the seed.
        train: the rows to learn from.
        dev: the rows that choose C and calibrate.
        heads: task to its label space.

    Raises:
        TrainingError: the train texts hold no word, or no train row has a label of a task's label space.
    """
    started = time.monotonic()
    if not any(row.text.split() for row in train):
        raise TrainingError(
            f"job {job.name}: its {len(train)} train texts hold no word; check the dataset's text column"
        )
    lessons = [make_lesson(head, job=job, train=train, dev=dev) for head in heads.values()]
    texts = [row.text for row in train]
    text_features, labelled = learn_labels(lessons, texts=texts)
    window_features, tagged = learn_slots(lessons, texts=texts)
    learnt = {task: (labelled | tagged)[task] for task in heads}
    transitions = {task: each.transitions for task, each in tagged.items() if each.transitions is not None}
    weights = LinearWeights(
        text_features, window_features, {task: each.scores for task, each in learnt.items()}, transitions
    )
    return _summary(weights, learnt=learnt, seconds=time.monotonic() - started)


def make_lesson(head: TaskHead, *, job: JobSlice, train: Sequence[Row], dev: Sequence[Row]) -> LinearLesson:
    """The rows that are labelled for one task; of train, those whose label is in the label space.

    Raises:
        TrainingError: no train row is.
    """
    assert isinstance(job.model, LinearModel)
    task = head.name
    places = [place for place, row in enumerate(train) if task in row.labels]
    if head.type == "classification":
        places = [place for place in places if train[place].labels[task] in head.labels]
    if not places:
        raise TrainingError(
            f"job {job.name}: none of its {len(train)} train rows has a label of task '{task}' that is one of "
            f"{list(head.labels.labels)}; correct tasks.{task}.labels or its column"
        )
    labelled_dev = [row for row in dev if task in row.labels]
    rows = [train[place] for place in places]
    return LinearLesson(head, rows, places, labelled_dev, job.model.regularization, job.seed)


def learn_labels(
    lessons: Sequence[LinearLesson], *, texts: Sequence[str]
) -> tuple[TextFeatures | None, dict[str, LearntTask]]:
    """The classification tasks among `lessons`, on features of all the job's train texts."""
    chosen = [lesson for lesson in lessons if lesson.head.type == "classification"]
    if not chosen:
        return None, {}
    features, matrix_NF = fit_text_features(texts)
    logger.info("counted texts=%d terms=%d", len(texts), len(features))
    return features, {
        lesson.head.name: fit_labels(lesson, matrix_NF=matrix_NF[lesson.places], features=features) for lesson in chosen
    }


def learn_slots(
    lessons: Sequence[LinearLesson], *, texts: Sequence[str]
) -> tuple[WindowFeatures | None, dict[str, LearntTask]]:
    """The slot tasks among `lessons`, on features of the words of all the job's train texts."""
    chosen = [lesson for lesson in lessons if lesson.head.type == "slot_filling"]
    if not chosen:
        return None, {}
    features = fit_window_features(words_of(texts))
    logger.info("counted texts=%d window_terms=%d", len(texts), len(features))
    return features, {lesson.head.name: fit_slots(lesson, features=features) for lesson in chosen}


def fit_labels(lesson: LinearLesson, *, matrix_NF: Any, features: TextFeatures) -> LearntTask:
    """Learn a classification task.

    Args:
        lesson: its rows.
        matrix_NF: (train rows, features) the train rows' vectors.
        features: make the dev rows' vectors.
    """
    labels, task = lesson.head.labels, lesson.head.name
    gold_N = np.asarray([labels.index(str(row.labels[task])) for row in lesson.train], np.int64)
    dev_gold = [str(row.labels[task]) for row in lesson.dev]
    dev_ids = np.asarray([labels.index(label) if label in labels else -1 for label in dev_gold], np.int64)
    dev_DF = features.transform([row.text for row in lesson.dev]) if lesson.dev else matrix_NF[:0]

    def learn(cost: float) -> Candidate[LinearScores]:
        scores = fit_svm(matrix_NF, gold_N, classes=len(labels), cost=cost, seed=lesson.seed)
        right = scores(dev_DF).argmax(axis=-1) == dev_ids
        return Candidate(scores, float(right.mean()) if right.size else 0.0, f"C={cost:g}")

    scores, history = search_cost(lesson.costs, task=task, fit=learn)
    logits_DL = scores(dev_DF)
    learnable = np.isin(dev_ids, gold_N)  # a label that train lacks has no probability to calibrate
    temperature = fit_temperature(logits_DL[learnable], dev_ids[learnable])
    probabilities = softmax(logits_DL, temperature=temperature)
    right = logits_DL.argmax(axis=-1) == dev_ids
    threshold = fit_rejection_threshold(probabilities.max(axis=-1)[right])
    return LearntTask(scores, temperature, history, rejection_threshold=threshold)


def _summary(weights: LinearWeights, *, learnt: Mapping[str, LearntTask], seconds: float) -> TrainedLinear:
    thresholds = {task: each.rejection_threshold for task, each in learnt.items()}
    record = TrainingRecord(
        seconds=seconds,
        epochs=0.0,  # an SVM is solved, not trained for epochs
        parameters=weights.parameters,
        history=tuple(record for each in learnt.values() for record in each.history),
    )
    return TrainedLinear(
        weights,
        temperatures={task: each.temperature for task, each in learnt.items()},
        rejection_thresholds={task: value for task, value in thresholds.items() if value is not None},
        record=record,
    )
