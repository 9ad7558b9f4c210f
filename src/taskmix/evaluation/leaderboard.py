"""From evaluated jobs to ranked systems, with what each is worth, how fast it is and what it costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from taskmix.config.plan import Plan, System, training_seeds
from taskmix.evaluation.latency import add_up, over_datasets
from taskmix.evaluation.report.model import Comparison, SeedRow, SystemRow
from taskmix.evaluation.scorecard import Evaluated, SystemSpeed
from taskmix.evaluation.system_scores import MEAN, Answers, SystemScores, difference, score_answers, score_over_seeds


@dataclass(frozen=True)
class MeasuredSystem:
    """A system of the plan, its scores, and who answers each task.

    Attributes:
        system: of the plan.
        answers: who answers each task in what is deployed: the jobs of the first seed.
        scores: over all seeds.
        seeds: each training seed's own scores, in the plan's order; one at least.
    """

    system: System
    answers: Answers
    scores: SystemScores
    seeds: tuple[SystemScores, ...]


def measure_systems(plan: Plan, evaluated: Mapping[str, Evaluated]) -> list[MeasuredSystem]:
    """Every system of the plan, measured.

    Args:
        plan: systems and settings.
        evaluated: job name to its evaluation; all jobs of one task on the same test data.
    """
    slice = plan.evaluation_slice()
    measured = []
    for system in plan.systems:
        repeats: list[Answers] = [
            {task: evaluated[job.name] for job in jobs for task in job.tasks} for jobs in (system.jobs, *system.repeats)
        ]
        seeds = tuple(score_answers(answers, slice=slice) for answers in repeats)
        scores = seeds[0] if len(seeds) == 1 else score_over_seeds(repeats, slice=slice)
        measured.append(MeasuredSystem(system, repeats[0], scores, seeds))
    return measured


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
    """USD an hour of one node of the model's hardware; null where the configuration gives none."""
    hardware = plan.config.models[model].hardware
    profile = plan.config.hardware.get(hardware) if hardware else None
    return profile.usd_per_hour if profile and profile.usd_per_hour > 0 else None


def training_price(plan: Plan, model: str, *, seconds: float) -> float | None:
    """USD of `seconds` of training on all nodes of the model's hardware; null where there is no price."""
    price, hardware = hourly_price(plan, model), plan.config.models[model].hardware
    return None if price is None or hardware is None else seconds / 3600 * price * plan.config.hardware[hardware].nodes


def million_texts_usd(speed: SystemSpeed, *, hourly_usd: float | None) -> float | None:
    """What a million texts cost: the hardware's time, and what is paid for asking elsewhere; null without a price."""
    if hourly_usd is None and speed.usd_per_text is None:
        return None
    return 1e6 * ((hourly_usd or 0.0) / 3600 / speed.texts_per_s + (speed.usd_per_text or 0.0))


def _row(plan: Plan, measured: MeasuredSystem, position: int, records: Mapping[str, str]) -> SystemRow:
    system = measured.system
    jobs = list({evaluated.uri: evaluated.scorecard.job for evaluated in measured.answers.values()}.values())
    seconds = sum(job.training_seconds for job in jobs)
    speed, by_dataset = system_speed(measured)
    return SystemRow(
        rank=position,
        name=system.name,
        model=system.model,
        grouping=system.grouping,
        ranked=measured.scores.scores[plan.config.gate.rank_by],
        mean=measured.scores.scores[MEAN],
        tasks={task: dict(scores) for task, scores in measured.scores.tasks.items()},
        frames=dict(measured.scores.frames),
        seeds=_seed_rows(plan, measured),
        speed=speed,
        speed_by_dataset=by_dataset,
        jobs=tuple(job.name for job in system.jobs),
        bytes=sum(job.bytes for job in jobs),
        parameters=sum(job.parameters for job in jobs),
        training_seconds=seconds,
        training_usd=training_price(plan, system.model, seconds=seconds),
        usd_per_million_texts=million_texts_usd(speed, hourly_usd=hourly_price(plan, system.model)),
        record=records[system.name],
    )


def _seed_rows(plan: Plan, measured: MeasuredSystem) -> tuple[SeedRow, ...]:
    """Each seed's scores, where there are several."""
    if len(measured.seeds) == 1:
        return ()
    return tuple(
        SeedRow(
            seed=seed,
            ranked=scores.scores[plan.config.gate.rank_by],
            tasks={task: dict(found) for task, found in scores.tasks.items()},
        )
        for seed, scores in zip(training_seeds(plan.config), measured.seeds, strict=True)
    )
