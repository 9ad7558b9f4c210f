"""The linear SVM under both kinds of task, and the search for its C: features and class indices in, weights out."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import LinearSVC

from taskmix.data.dataset import Row
from taskmix.modeling.answers import TaskHead
from taskmix.modeling.bundle import EpochRecord
from taskmix.modeling.linear import LinearScores

logger = logging.getLogger(__name__)
TOLERANCE = 0.1
"""Of the dual problem's violation: liblinear's own default for this solver; scikit-learn's, 1e-4, is far stricter."""
UNSEEN = -30.0
"""Margin of a label that no train row has: far below every margin of the others, so that it is never answered."""
Fitted = TypeVar("Fitted")


def fit_svm(features_NF: Any, gold_N: NDArray[np.int64], *, classes: int, cost: float, seed: int) -> LinearScores:
    """Weights of a linear multi-class SVM.

    All classes are solved as one problem (Crammer and Singer 2001, JMLR 2:265-292). For MASSIVE's 107 tags that was
    eight times as fast as one SVM a tag, and no worse; and its margins compare across classes, as a softmax supposes.

    Args:
        features_NF: (rows, features) CSR.
        gold_N: (rows,) class indices.
        classes: size of the label space; a class that is not in `gold_N` is never answered.
        cost: the SVM's C; less regularises more.
        seed: of the order in which liblinear visits the rows.
    """
    seen = np.unique(gold_N)
    weights_FL = np.zeros((features_NF.shape[1], classes), np.float32)
    bias_L = np.full(classes, UNSEEN, np.float32)
    bias_L[seen] = 0.0
    if seen.size < 2:
        return LinearScores(weights_FL, bias_L)
    svm = LinearSVC(C=cost, multi_class="crammer_singer", tol=TOLERANCE, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        svm.fit(features_NF, gold_N)
    if svm.n_iter_ >= svm.max_iter:
        logger.warning(
            "svm not converged C=%g passes=%d: its score on dev tells whether that matters", cost, svm.n_iter_
        )
    coefficients, intercepts = svm.coef_, svm.intercept_
    if seen.size == 2:  # scikit-learn gives two classes one row of weights, the second's less the first's
        coefficients, intercepts = np.vstack([-coefficients, coefficients]) / 2, np.tile(intercepts, 2) * [-0.5, 0.5]
    weights_FL[:, seen] = coefficients.T
    bias_L[seen] = intercepts
    return LinearScores(weights_FL, bias_L)


@dataclass(frozen=True)
class LinearLesson:
    """What one task is learnt from.

    Attributes:
        head: the task and its label space.
        train: rows to learn from, labelled for the task with a label of its space.
        places: where these rows stand among the job's train rows.
        dev: rows to choose C and to calibrate by, labelled for the task.
        costs: values of C to try.
        seed: of all that is random.
    """

    head: TaskHead
    train: Sequence[Row]
    places: Sequence[int]
    dev: Sequence[Row]
    costs: Sequence[float]
    seed: int


@dataclass(frozen=True)
class LearntTask:
    """One task learnt: weights, calibration, and the values of C tried.

    Attributes:
        scores: of its labels or tags.
        temperature: fitted on dev.
        history: a record for each value of C.
        rejection_threshold: fitted on dev; null for slot filling.
        transitions: of its tags, as in `LinearWeights`; null for classification.
    """

    scores: LinearScores
    temperature: float
    history: Sequence[EpochRecord]
    rejection_threshold: float | None = None
    transitions: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Candidate(Generic[Fitted]):
    """One value of C tried.

    Attributes:
        fitted: what was learnt with it.
        dev_score: the task's primary score on dev, in [0, 1].
        setting: what was tried, in words.
    """

    fitted: Fitted
    dev_score: float
    setting: str


def search_cost(
    costs: Sequence[float], *, task: str, fit: Callable[[float], Candidate[Fitted]]
) -> tuple[Fitted, list[EpochRecord]]:
    """What was learnt with the value of C best on dev, the least of equals; and a record of each value tried.

    Values are tried from small to large up to the first that is worse than the one before: dev scores rise and then
    fall in C, and the large values are those that take long.

    Args:
        costs: at least one.
        task: whose model is searched, for the records.
        fit: learns with one value and scores it.
    """
    candidates: list[Candidate[Fitted]] = []
    records: list[EpochRecord] = []
    for cost in sorted(set(costs)):
        started = time.monotonic()
        candidate = fit(cost)
        seconds = time.monotonic() - started
        logger.info("tried task=%s %s dev=%.4f seconds=%.1f", task, candidate.setting, candidate.dev_score, seconds)
        scores = {task: candidate.dev_score}
        setting = f"{task}: {candidate.setting}"
        records.append(EpochRecord(epoch=len(records) + 1, setting=setting, dev_scores=scores, seconds=seconds))
        candidates.append(candidate)
        if len(candidates) > 1 and candidate.dev_score < candidates[-2].dev_score:
            break
    return max(candidates, key=lambda candidate: candidate.dev_score).fitted, records
