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
from taskmix.modeling.linear_features import TextFeatures, fit_text_features, fit_window_features
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
    lessons = {task: make_lesson(head, job=job, train=train, dev=dev) for task, head in heads.items()}
    classified = [lesson for lesson in lessons.values() if lesson.head.type == "classification"]
    tagged = [lesson for lesson in lessons.values() if lesson.head.type == "slot_filling"]
    learnt: dict[str, LearntTask] = {}
    text_features = window_features = None
    if classified:
        text_features, matrix_NF = fit_text_features([row.text for row in train])
        logger.info("counted texts=%d terms=%d", len(train), len(text_features))
        row_numbers = {id(row): number for number, row in enumerate(train)}
        for lesson in classified:
            rows = [row_numbers[id(row)] for row in lesson.train]
            learnt[lesson.head.name] = fit_labels(lesson, matrix_NF=matrix_NF[rows], features=text_features)
    if tagged:
        window_features = fit_window_features(words_of(train))
        logger.info("counted texts=%d window_terms=%d", len(train), len(window_features))
        learnt |= {lesson.head.name: fit_slots(lesson, features=window_features) for lesson in tagged}
    scores = {task: learnt[task].scores for task in heads}
    transitions = {task: each.transitions for task, each in learnt.items() if each.transitions is not None}
    weights = LinearWeights(text_features, window_features, scores, transitions)
    return _summary(weights, learnt={task: learnt[task] for task in heads}, seconds=time.monotonic() - started)


def make_lesson(head: TaskHead, *, job: JobSlice, train: Sequence[Row], dev: Sequence[Row]) -> LinearLesson:
    """The rows that are labelled for one task; of train, those whose label is in the label space.

    Raises:
        TrainingError: no train row is.
    """
    assert isinstance(job.model, LinearModel)
    known = [row for row in train if head.name in row.labels]
    if head.type == "classification":
        known = [row for row in known if row.labels[head.name] in head.labels]
    if not known:
        raise TrainingError(
            f"job {job.name}: none of its {len(train)} train rows has a label of task '{head.name}' that is one of "
            f"{list(head.labels.labels)}; correct tasks.{head.name}.labels or its column"
        )
    return LinearLesson(
        head, known, [row for row in dev if head.name in row.labels], job.model.regularization, job.seed
    )


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
