"""From evaluated jobs to ranked systems, with what each is worth, how fast it is and what it costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from taskmix.config.plan import EvaluationSlice, Plan, System
from taskmix.evaluation.intervals import Interval, Resampled, interval, mean_of
from taskmix.evaluation.latency import add_up, over_datasets
from taskmix.evaluation.metrics import Measure, frame_exact_match, task_measures
from taskmix.evaluation.report.model import Comparison, SystemRow
from taskmix.evaluation.scorecard import Evaluated, Score, SystemSpeed
from taskmix.evaluation.scoring import make_score, sample_measures

MEAN = "mean"


@dataclass(frozen=True)
class SystemScores:
    """What a system is worth, by the predictions of its jobs.

    Attributes:
        scores: `mean` and each task's primary score.
        frames: dataset to the exact match of the whole frame.
        samples: for each key of `scores` its resamples: the same one at the same position in every system that is
            measured on the same test data with the same settings.
    """

    scores: Mapping[str, Score]
    frames: Mapping[str, Score]
    samples: Mapping[str, Resampled]


@dataclass(frozen=True)
class MeasuredSystem:
    """A system of the plan, the evaluation of the job that answers each task, and its scores."""

    system: System
    answers: Mapping[str, Evaluated]
    scores: SystemScores


def measure_systems(plan: Plan, evaluated: Mapping[str, Evaluated]) -> list[MeasuredSystem]:
    """Every system of the plan, measured.

    Args:
        plan: systems and settings.
        evaluated: job name to its evaluation; all jobs of one task on the same test data.
    """
    measured = []
    for system in plan.systems:
        answers = {task: evaluated[job.name] for job in system.jobs for task in job.tasks}
        measured.append(MeasuredSystem(system, answers, score_answers(answers, slice=plan.evaluation_slice())))
    return measured


def score_answers(answers: Mapping[str, Evaluated], *, slice: EvaluationSlice) -> SystemScores:
    """The scores of a system, computed from stored predictions.

    Args:
        answers: task to the evaluation of the job that answers it.
        slice: seed, resamples, confidence, bins.
    """
    scores: dict[str, Score] = {}
    samples: dict[str, Resampled] = {}
    frames: dict[str, Score] = {}
    for dataset, measures in _measures(answers, slice=slice).items():
        drawn = sample_measures(measures, dataset=dataset, slice=slice)
        for name, measure in measures.items():
            score = make_score(measure.score(), samples=drawn[name], confidence=slice.evaluation.confidence)
            if name == _frame_key(dataset):
                frames[dataset] = score
            else:
                scores[name], samples[name] = score, drawn[name]
    samples[MEAN] = mean_of([samples[task] for task in answers])
    tasks = [scores[task] for task in answers]
    return SystemScores({MEAN: _mean(tasks, samples[MEAN], slice=slice), **scores}, frames, samples)


def rank(measured: Sequence[MeasuredSystem], *, by: str) -> list[MeasuredSystem]:
    """Best first by the score `by` (`mean` or a task); equal scores by latency; undefined ones last."""

    def order(system: MeasuredSystem) -> tuple[float, float]:
        value = system.scores.scores[by].value
        return (-value if value is not None else np.inf, system_speed(system)[0].p50_ms)

    return sorted(measured, key=order)


def leaderboard(plan: Plan, ranked: Sequence[MeasuredSystem], *, records: Mapping[str, str]) -> tuple[SystemRow, ...]:
    """The lines of the leaderboard.

    Args:
        plan: for prices and `gate.rank_by`.
        ranked: best first.
        records: system name to the URI of its record.
    """
    return tuple(_row(plan, system, position, records) for position, system in enumerate(ranked, start=1))


def difference(ours: SystemScores, theirs: SystemScores, *, score: str) -> tuple[float | None, Interval | None]:
    """One system's score minus another's, with the interval of the paired bootstrap; null where undefined."""
    first, second = ours.scores[score], theirs.scores[score]
    if first.value is None or second.value is None:
        return None, None
    found = first.interval or second.interval
    samples = ours.samples[score].minus(theirs.samples[score])
    return first.value - second.value, interval(samples, confidence=found.confidence) if found else None


def compare(system: MeasuredSystem, against: MeasuredSystem, *, score: str) -> Comparison:
    """The paired comparison of two systems on one score."""
    value, found = difference(system.scores, against.scores, score=score)
    return Comparison(
        system=system.system.name, against=against.system.name, score=score, difference=value, interval=found
    )


def compare_systems(ranked: Sequence[MeasuredSystem], *, by: str) -> tuple[Comparison, ...]:
    """Each system against the best on the score ranked by, then each model's groupings against one another by task."""
    best = ranked[0]
    to_best = [compare(system, best, score=by) for system in ranked[1:]]
    groupings = []
    for index, first in enumerate(ranked):
        for second in ranked[index + 1 :]:
            if first.system.model == second.system.model:
                groupings += [compare(first, second, score=task) for task in first.answers]
    return (*to_best, *groupings)


def system_speed(measured: MeasuredSystem) -> tuple[SystemSpeed, dict[str, SystemSpeed]]:
    """The system's speed over all datasets, and on each."""
    by_dataset: dict[str, dict[str, Evaluated]] = {}
    for evaluated in measured.answers.values():
        for dataset in evaluated.scorecard.speed:
            by_dataset.setdefault(dataset, {})[evaluated.uri] = evaluated
    speeds = {
        dataset: add_up([evaluated.scorecard.speed[dataset] for evaluated in jobs.values()])
        for dataset, jobs in by_dataset.items()
    }
    return over_datasets(list(speeds.values())), speeds


def hourly_price(plan: Plan, model: str) -> float | None:
    """USD an hour of the model's hardware; null where the configuration gives none."""
    hardware = plan.config.models[model].hardware
    profile = plan.config.hardware.get(hardware) if hardware else None
    return profile.usd_per_hour if profile and profile.usd_per_hour > 0 else None


def _frame_key(dataset: str) -> str:
    """Key of a dataset's frame among its tasks' names, which hold no colon."""
    return f"frame:{dataset}"


def _measures(answers: Mapping[str, Evaluated], *, slice: EvaluationSlice) -> dict[str, dict[str, Measure]]:
    """Dataset to the primary measure of each of its tasks, and the frame's where there are several."""
    tasks: dict[str, list[str]] = {}
    for task, evaluated in answers.items():
        tasks.setdefault(evaluated.scorecard.tasks[task].dataset, []).append(task)
    measures: dict[str, dict[str, Measure]] = {}
    for dataset, names in tasks.items():
        rows = answers[names[0]].scorecard.tasks[names[0]].test_rows
        predictions = {task: answers[task].predictions[task] for task in names}
        bins = slice.evaluation.ece_bins
        measures[dataset] = {task: task_measures(predictions[task], rows=rows, ece_bins=bins)[0] for task in names}
        if len(names) > 1:
            measures[dataset][_frame_key(dataset)] = frame_exact_match(list(predictions.values()), rows=rows)
    return measures


def _mean(scores: Sequence[Score], samples: Resampled, *, slice: EvaluationSlice) -> Score:
    values = [score.value for score in scores if score.value is not None]
    if len(values) < len(scores):
        note = "undefined: the score of a task is"
        return Score(value=None, numerator=sum(values), denominator=0.0, note=note)
    return make_score((sum(values), float(len(values))), samples=samples, confidence=slice.evaluation.confidence)


def _row(plan: Plan, measured: MeasuredSystem, position: int, records: Mapping[str, str]) -> SystemRow:
    system = measured.system
    jobs = {evaluated.scorecard.job.name: evaluated.scorecard.job for evaluated in measured.answers.values()}
    seconds = sum(job.training_seconds for job in jobs.values())
    speed, by_dataset = system_speed(measured)
    price = hourly_price(plan, system.model)
    return SystemRow(
        rank=position,
        name=system.name,
        model=system.model,
        grouping=system.grouping,
        ranked=measured.scores.scores[plan.config.gate.rank_by],
        mean=measured.scores.scores[MEAN],
        tasks={task: evaluated.scorecard.tasks[task].scores for task, evaluated in measured.answers.items()},
        frames=dict(measured.scores.frames),
        speed=speed,
        speed_by_dataset=by_dataset,
        jobs=tuple(jobs),
        bytes=sum(job.bytes for job in jobs.values()),
        parameters=sum(job.parameters for job in jobs.values()),
        training_seconds=seconds,
        training_usd=None if price is None else seconds / 3600 * price,
        usd_per_million_texts=None if price is None else 1e6 / speed.texts_per_s / 3600 * price,
        record=records[system.name],
    )
