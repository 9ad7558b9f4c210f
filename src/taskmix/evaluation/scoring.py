"""From predictions to numbers with intervals: one task's part of the scorecard. No models, no storage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict, TypeVar

from taskmix.config.plan import EvaluationSlice
from taskmix.evaluation.intervals import Resampled, interval, resample
from taskmix.evaluation.lengths import by_length
from taskmix.evaluation.metrics import PRIMARY, Measure, task_measures
from taskmix.evaluation.predictions import Predictions, digest_of_test_data
from taskmix.evaluation.scorecard import LengthRow, Score, TaskScorecard
from taskmix.evaluation.tables import confusion, per_label, reliability, worst_errors

Key = TypeVar("Key")


class _Settings(TypedDict):
    """What every score of one task is resampled with."""

    dataset: str
    slice: EvaluationSlice


def score_task(predictions: Predictions, *, dataset: str, rows: int, slice: EvaluationSlice) -> TaskScorecard:
    """Everything that the scorecard says of one task.

    Args:
        predictions: of the task.
        dataset: its name, which decides the draws of the bootstrap.
        rows: of the dataset's test split.
        slice: seed, resamples, confidence, bins.
    """
    bins = slice.evaluation.ece_bins
    space = set(predictions.examples.labels)
    labels = per_label(predictions)
    primary, *others = task_measures(predictions, rows=rows, ece_bins=bins)
    measures = {measure.name: measure for measure in (primary, *others)}
    settings: _Settings = {"dataset": dataset, "slice": slice}
    return TaskScorecard(
        task=predictions.examples.task,
        type=predictions.type,
        dataset=dataset,
        examples=len(predictions.examples),
        test_rows=rows,
        test_data=digest_of_test_data(predictions),
        labels=predictions.examples.labels,
        unknown_gold={row.label: row.gold for row in labels if row.label not in space},
        primary=PRIMARY[predictions.type],
        scores=score_measures(measures, **settings),
        per_label=labels,
        confusion=confusion(predictions),
        reliability=reliability(predictions, bins=bins),
        worst_errors=worst_errors(predictions),
        lengths=tuple(
            LengthRow(low=low, high=high, texts=texts, score=score)
            for (low, high, texts), score in score_measures(by_length(predictions, primary), **settings).items()
        ),
    )


def score_measures(measures: Mapping[Key, Measure], *, dataset: str, slice: EvaluationSlice) -> dict[Key, Score]:
    """Scores with intervals, of measures over the same dataset's test split."""
    samples = sample_measures(measures, dataset=dataset, slice=slice)
    return {
        key: make_score(measure.score(), samples=samples[key], confidence=slice.evaluation.confidence)
        for key, measure in measures.items()
    }


def sample_measures(measures: Mapping[Key, Measure], *, dataset: str, slice: EvaluationSlice) -> dict[Key, Resampled]:
    """Resampled scores of measures over the same dataset's test split: the same draws for all, and for every caller."""
    rows = max((measure.statistics.shape[0] for measure in measures.values()), default=0)
    return resample(measures, rows=rows, resamples=slice.evaluation.resamples, seed=slice.seed, dataset=dataset)


def make_score(fraction: tuple[float, float], *, samples: Resampled, confidence: float) -> Score:
    """A score with its interval; what is undefined is null, with the reason."""
    numerator, denominator = fraction
    if not denominator:
        return Score(
            value=None, numerator=numerator, denominator=0.0, note="undefined: nothing to count on this test split"
        )
    found = interval(samples, confidence=confidence)
    note = (
        None
        if found
        else "no interval: the resamples of these examples do not differ, or too many leave the score undefined"
    )
    return Score(value=numerator / denominator, numerator=numerator, denominator=denominator, interval=found, note=note)
