"""What a system is worth: its jobs' stored predictions put together, at one training seed or over several.

Used by the leaderboard for this run's systems and by the gate for the champion, so both follow one definition.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from taskmix.config.plan import EvaluationSlice
from taskmix.evaluation.intervals import Interval, Resampled, interval, mean_of
from taskmix.evaluation.metrics import Measure, frame_exact_match, task_measures
from taskmix.evaluation.scorecard import Evaluated, Score
from taskmix.evaluation.scoring import make_score, sample_measures
from taskmix.evaluation.seeds import over_seeds

MEAN = "mean"
Answers = Mapping[str, Evaluated]
"""Task to the evaluation of the job that answers it."""


@dataclass(frozen=True)
class SystemScores:
    """What a system is worth, by the predictions of its jobs.

    Attributes:
        scores: `mean` and each task's primary score.
        frames: dataset to the exact match of the whole frame.
        tasks: task to all its scores by name, the primary one first.
        samples: for each key of `scores` its resamples: the same one at the same position in every system that is
            measured on the same test data with the same settings.
    """

    scores: Mapping[str, Score]
    frames: Mapping[str, Score]
    tasks: Mapping[str, Mapping[str, Score]]
    samples: Mapping[str, Resampled]


def score_answers(answers: Answers, *, slice: EvaluationSlice) -> SystemScores:
    """The scores of a system at one seed, computed from stored predictions.

    Args:
        answers: who answers each task.
        slice: seed, resamples, confidence, bins.
    """
    scores, samples = _score(answers, slice=slice, every=False)
    tasks = {task: evaluated.scorecard.tasks[task].scores for task, evaluated in answers.items()}
    return _gather(answers, scores, samples, tasks=tasks, slice=slice)


def score_over_seeds(seeds: Sequence[Answers], *, slice: EvaluationSlice) -> SystemScores:
    """The mean scores of a system over its training seeds, with intervals that hold both levels of chance.

    Args:
        seeds: who answers each task, at each seed; two at least.
        slice: seed, resamples, confidence, bins.
    """
    first = seeds[0]
    by_seed = [_score(answers, slice=slice, every=True) for answers in seeds]
    scores: dict[str, Score] = {}
    samples: dict[str, Resampled] = {}
    for key in by_seed[0][1]:
        tasks = [key.partition(":")[0]] if key.partition(":")[0] in first else list(first)
        jobs = sorted({first[task].scorecard.job.name for task in tasks})
        samples[key] = over_seeds([found[key] for _, found in by_seed], stream=[slice.seed, key, *jobs])
        scores[key] = _mean_score([one[key] for one, _ in by_seed], samples[key], slice=slice)
    every = {
        task: {name: scores[_score_key(task, name)] for name in evaluated.scorecard.tasks[task].scores}
        for task, evaluated in first.items()
    }
    return _gather(first, scores, samples, tasks=every, slice=slice)


def difference(ours: SystemScores, theirs: SystemScores, *, score: str) -> tuple[float | None, Interval | None]:
    """One system's score minus another's, with the interval of the paired bootstrap; null where undefined."""
    first, second = ours.scores[score], theirs.scores[score]
    if first.value is None or second.value is None:
        return None, None
    found = first.interval or second.interval
    samples = ours.samples[score].minus(theirs.samples[score])
    return first.value - second.value, interval(samples, confidence=found.confidence) if found else None


def _gather(
    answers: Answers,
    scores: Mapping[str, Score],
    samples: Mapping[str, Resampled],
    *,
    tasks: Mapping[str, Mapping[str, Score]],
    slice: EvaluationSlice,
) -> SystemScores:
    """Put single scores in their places."""
    ranked = {MEAN: scores[MEAN], **{task: scores[task] for task in answers}}
    datasets = dict.fromkeys(evaluated.scorecard.tasks[task].dataset for task, evaluated in answers.items())
    frames = {dataset: scores[_frame_key(dataset)] for dataset in datasets if _frame_key(dataset) in scores}
    return SystemScores(ranked, frames, tasks, {name: samples[name] for name in ranked})


def _score(answers: Answers, *, slice: EvaluationSlice, every: bool) -> tuple[dict[str, Score], dict[str, Resampled]]:
    """Scores and resamples by key: `mean`, each task (its primary score), each frame, and `every` score of a task."""
    scores: dict[str, Score] = {}
    samples: dict[str, Resampled] = {}
    for dataset, measures in _measures(answers, slice=slice, every=every).items():
        drawn = sample_measures(measures, dataset=dataset, slice=slice)
        samples |= drawn
        for key, measure in measures.items():
            scores[key] = make_score(measure.score(), samples=drawn[key], confidence=slice.evaluation.confidence)
    samples[MEAN] = mean_of([samples[task] for task in answers])
    scores[MEAN] = _mean_score([scores[task] for task in answers], samples[MEAN], slice=slice)
    return scores, samples


def _measures(answers: Answers, *, slice: EvaluationSlice, every: bool) -> dict[str, dict[str, Measure]]:
    """Dataset to the primary measure of each of its tasks, the frame's where there are several, and all others."""
    tasks: dict[str, list[str]] = {}
    for task, evaluated in answers.items():
        tasks.setdefault(evaluated.scorecard.tasks[task].dataset, []).append(task)
    measures: dict[str, dict[str, Measure]] = {}
    for dataset, names in tasks.items():
        rows = answers[names[0]].scorecard.tasks[names[0]].test_rows
        predictions = {task: answers[task].predictions[task] for task in names}
        found = measures.setdefault(dataset, {})
        for task in names:
            of_task = task_measures(predictions[task], rows=rows, ece_bins=slice.evaluation.ece_bins)
            found[task] = of_task[0]
            if every:
                found |= {_score_key(task, measure.name): measure for measure in of_task}
        if len(names) > 1:
            found[_frame_key(dataset)] = frame_exact_match(list(predictions.values()), rows=rows)
    return measures


def _mean_score(scores: Sequence[Score], samples: Resampled, *, slice: EvaluationSlice) -> Score:
    """The mean of tasks, or of seeds."""
    values = [score.value for score in scores if score.value is not None]
    if len(values) < len(scores):
        note = "undefined: one of the scores that it is the mean of is"
        return Score(value=None, numerator=sum(values), denominator=0.0, note=note)
    return make_score((sum(values), float(len(values))), samples=samples, confidence=slice.evaluation.confidence)


def _score_key(task: str, name: str) -> str:
    return f"{task}:{name}"


def _frame_key(dataset: str) -> str:
    """Key of a dataset's frame among its tasks' names, which hold no colon."""
    return f"frame of:{dataset}"
