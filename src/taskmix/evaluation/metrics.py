"""The scores, each as sums over examples, so that a resample of the test set is only a weighting of those sums.

A `Measure` is a matrix with one row an example (its sufficient statistics) and a function from the summed rows to a
numerator and a denominator. The score of the test set and those of its 1,000 resamples come from the same two lines,
so they cannot follow different definitions. What the definitions are:

- accuracy: right answers / examples. A gold label outside the label space can only be answered wrongly.
- macro_f1: the mean of the labels' F1 over the labels that occur in gold or in the answers (scikit-learn's `macro`).
- span_f1: micro F1 over spans; an answered span is right when start, end and slot all equal those of a gold span.
  Both sides are spans of words, not tags, so seqeval's strict IOB2 mode and its default mode (conlleval's definition,
  Tjong Kim Sang and Buchholz 2000) give this same number: they differ only on malformed tag sequences, and a model's
  tags have become spans (by the conll convention, `data.schema.tags_to_spans`) before they get here. A test holds it.
- exact_match: texts whose every span is right / texts. Of a frame (several tasks of one dataset): texts with every
  task's answer right / texts that have a label for every one of these tasks.
- invalid_rate: texts that a freely writing model answered with no label, or no spans, of the task / texts. Such an
  answer is never right: for accuracy it is an error, for macro_f1 a gold label missed, for spans none. Lower is better.
- ece: expected calibration error over equal-width bins of the answer's probability (Guo et al. 2017, arXiv
  1706.04599, section 2), those whose probability is told; for slots, over answered spans. Lower is better.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from taskmix.evaluation.predictions import ClassificationPredictions, Predictions, SlotPredictions

Array = NDArray[np.float64]
Fraction = Callable[[Array], tuple[Array, Array]]

CELLS_AT_ONCE = 4_000_000
"""Sums held at a time (32 MB as float64): bounds memory, decides no result."""
PRIMARY = {"classification": "accuracy", "slot_filling": "span_f1"}
"""The score that a task is ranked, gated and chosen by, by the task's type."""


@dataclass(frozen=True)
class Measure:
    """One score, ready to be computed for any weighting of the examples.

    Attributes:
        name: e.g. `macro_f1`.
        statistics: (rows, K) sparse, what each row of the test split adds to the K sums; a row without label adds 0.
        fraction: from sums (..., K) to numerator and denominator, (...) each.
    """

    name: str
    statistics: sparse.csr_array
    fraction: Fraction

    def score(self) -> tuple[float, float]:
        """Numerator and denominator on the whole test set; a denominator of 0 means undefined."""
        numerator, denominator = self.fraction(np.asarray(self.statistics.sum(axis=0), dtype=np.float64))
        return float(numerator), float(denominator)

    def resampled(self, weights_RN: NDArray[np.float64]) -> Array:
        """The score of each of R weightings of the rows; NaN where undefined."""
        sums_RK = np.ascontiguousarray((self.statistics.T @ weights_RN.T).T)
        numerator, denominator = self.fraction(sums_RK)
        out: Array = np.full(len(weights_RN), np.nan)
        return np.divide(numerator, denominator, out=out, where=denominator > 0)

    def leave_one_out(self) -> Array:
        """(rows,) the score without each row; NaN where undefined. Rows that are equal give equal scores."""
        rows, width = self.statistics.shape
        sums = np.asarray(self.statistics.sum(axis=0), dtype=np.float64)
        at_once = max(1, CELLS_AT_ONCE // max(width, 1))
        out: Array = np.full(rows, np.nan)
        for start in range(0, rows, at_once):
            numerator, denominator = self.fraction(sums - self.statistics[start : start + at_once].toarray())
            np.divide(numerator, denominator, out=out[start : start + at_once], where=denominator > 0)
        return out


def task_measures(predictions: Predictions, *, rows: int, ece_bins: int) -> tuple[Measure, ...]:
    """All scores of one task, the primary one first.

    Args:
        predictions: of the task.
        rows: of the dataset's test split, labelled for this task or not.
        ece_bins: of the calibration error.
    """
    at = predictions.examples.rows
    if isinstance(predictions, ClassificationPredictions):
        return (
            _share("accuracy", predictions.right, at=at, rows=rows),
            _macro_f1(predictions, rows=rows),
            _calibration(predictions.probability, predictions.right, at=at, rows=rows, bins=ece_bins),
            _share("invalid_rate", ~predictions.valid, at=at, rows=rows),
        )
    counts = span_counts(predictions)
    confidence, right, owners = answered_spans(predictions)
    return (
        Measure(
            "span_f1", _spread(counts, at=at, rows=rows), lambda sums: (2 * sums[..., 0], sums[..., 1] + sums[..., 2])
        ),
        Measure("span_precision", _spread(counts, at=at, rows=rows), lambda sums: (sums[..., 0], sums[..., 1])),
        Measure("span_recall", _spread(counts, at=at, rows=rows), lambda sums: (sums[..., 0], sums[..., 2])),
        _share("exact_match", predictions.right, at=at, rows=rows),
        _calibration(confidence, right, at=at[owners], rows=rows, bins=ece_bins),
        _share("invalid_rate", ~predictions.valid, at=at, rows=rows),
    )


def frame_exact_match(tasks: Sequence[Predictions], *, rows: int) -> Measure:
    """Exact match of the whole frame: every task of one dataset answered rightly, over texts labelled for all."""
    labelled, right = np.ones(rows, dtype=bool), np.ones(rows, dtype=bool)
    for predictions in tasks:
        has_label, is_right = np.zeros(rows, dtype=bool), np.zeros(rows, dtype=bool)
        has_label[predictions.examples.rows] = True
        is_right[predictions.examples.rows] = predictions.right
        labelled &= has_label
        right &= is_right
    at = np.flatnonzero(labelled)
    return _share("frame_exact_match", right[at], at=at, rows=rows)


def span_counts(predictions: SlotPredictions) -> Array:
    """(examples, 3): spans right, answered, gold."""
    pairs = zip(predictions.gold, predictions.predicted, strict=True)
    counts = [(len(set(gold) & set(answered)), len(answered), len(gold)) for gold, answered in pairs]
    return np.array(counts, dtype=np.float64).reshape(-1, 3)


def answered_spans(predictions: SlotPredictions) -> tuple[Array, NDArray[np.bool_], NDArray[np.int64]]:
    """Every span answered: its probability, whether it is right, and the index of its example."""
    found = [
        (probability, span in gold, index)
        for index, (gold, spans, probabilities) in enumerate(
            zip(predictions.gold, predictions.predicted, predictions.probabilities, strict=True)
        )
        for span, probability in zip(spans, probabilities, strict=True)
    ]
    return (
        np.array([item[0] for item in found], dtype=np.float64),
        np.array([item[1] for item in found], dtype=bool),
        np.array([item[2] for item in found], dtype=np.int64),
    )


def bin_of(probability: Array, *, bins: int) -> NDArray[np.int64]:
    """The calibration bin of each probability: bin b of B holds (b/B, (b+1)/B], and bin 0 also 0."""
    found: NDArray[np.int64] = np.clip(np.ceil(probability * bins) - 1, 0, bins - 1).astype(np.int64)
    return found


def label_order(predictions: ClassificationPredictions) -> tuple[str, ...]:
    """The label space, then the gold labels outside it, sorted."""
    space = predictions.examples.labels
    return (*space, *sorted(set(predictions.gold) - set(space)))


def _share(name: str, right: NDArray[np.bool_], *, at: NDArray[np.int64], rows: int) -> Measure:
    statistics = np.stack([right, np.ones(len(right))], axis=1).astype(np.float64)
    return Measure(name, _spread(statistics, at=at, rows=rows), lambda sums: (sums[..., 0], sums[..., 1]))


def _macro_f1(predictions: ClassificationPredictions, *, rows: int) -> Measure:
    """Sums: for each of L labels, how often it is right, gold, answered (L + L + L columns)."""
    labels = label_order(predictions)
    position = {label: index for index, label in enumerate(labels)}
    gold = np.array([position[label] for label in predictions.gold], dtype=np.int64)
    valid = predictions.valid
    answered = np.array([position[label] for label in np.array(predictions.predicted)[valid]], dtype=np.int64)
    right, at, size = predictions.right, predictions.examples.rows, len(labels)
    row = np.concatenate([at[right], at, at[valid]])
    column = np.concatenate([gold[right], size + gold, 2 * size + answered])
    statistics = sparse.csr_array((np.ones(len(row)), (row, column)), shape=(rows, 3 * size))

    def fraction(sums: Array) -> tuple[Array, Array]:
        right, gold, answered = np.split(sums, 3, axis=-1)
        occurring = gold + answered
        f1 = np.divide(2 * right, occurring, out=np.zeros_like(right), where=occurring > 0)
        return f1.sum(axis=-1), (occurring > 0).sum(axis=-1).astype(np.float64)

    return Measure("macro_f1", statistics, fraction)


def _calibration(
    probability: Array, right: NDArray[np.bool_], *, at: NDArray[np.int64], rows: int, bins: int
) -> Measure:
    """Sums: for each of B bins, how many answers, their probability, how many right (B + B + B columns).

    Answers whose probability is not told are left out; with none told, the error is undefined.
    """
    told = ~np.isnan(probability)
    probability, right, at = probability[told], right[told], at[told]
    column = bin_of(probability, bins=bins)
    values = np.concatenate([np.ones(len(at)), probability, right.astype(np.float64)])
    columns = np.concatenate([column, bins + column, 2 * bins + column])
    statistics = sparse.csr_array((values, (np.tile(at, 3), columns)), shape=(rows, 3 * bins))

    def fraction(sums: Array) -> tuple[Array, Array]:
        count, confidence, right = np.split(sums, 3, axis=-1)
        return np.abs(confidence - right).sum(axis=-1), count.sum(axis=-1)

    return Measure("ece", statistics, fraction)


def _spread(statistics: Array, *, at: NDArray[np.int64], rows: int) -> sparse.csr_array:
    """Statistics of examples, put in the rows of the test split that they stand in."""
    spread = np.zeros((rows, statistics.shape[1]))
    spread[at] = statistics
    return sparse.csr_array(spread)
