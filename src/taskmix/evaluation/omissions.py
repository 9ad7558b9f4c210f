"""What limits a comparison, and what one might look for in a report and not find, in sentences with the reason."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from taskmix.config.plan import Plan, training_seeds
from taskmix.config.schema import ApiModel, LinearModel
from taskmix.evaluation.leaderboard import hourly_price
from taskmix.evaluation.scorecard import Evaluated

Jobs = Mapping[str, Evaluated]
"""Job name to its evaluation."""


def remarks(evaluated: Jobs) -> tuple[str, ...]:
    """What a reader must know before all else to read the numbers rightly."""
    told = []
    machines = {json.dumps(one.scorecard.machine, sort_keys=True) for one in evaluated.values()}
    if len(machines) > 1:
        told.append(
            f"The jobs were timed on {len(machines)} different machines, so latencies do not compare; see the jobs."
        )
    unknown: dict[str, dict[str, int]] = {}
    for one in evaluated.values():
        for task, card in one.scorecard.tasks.items():
            if card.unknown_gold:
                unknown[task] = card.unknown_gold
    for task, labels in unknown.items():
        names = ", ".join(f"{label} ({count})" for label, count in labels.items())
        told.append(f"Task {task}: the test split has labels that training never saw, counted as errors: {names}.")
    return tuple(told)


def left_out(plan: Plan, evaluated: Jobs) -> tuple[str, ...]:
    """What was skipped, withheld or could not be computed."""
    return tuple([*_systems(plan), *_statistics(plan, evaluated), *_costs(plan), *_presentation(plan)])


def _systems(plan: Plan) -> Iterator[str]:
    config, there = plan.config, {system.name for system in plan.systems}
    for name, model in config.models.items():
        absent = [grouping for grouping in config.groupings if f"{name}/{grouping}" not in there]
        if not absent:
            continue
        if config.systems != "all":
            why = "the configuration's systems do not name it"
        elif isinstance(model, LinearModel):
            why = "a linear model shares nothing between tasks, so one grouping says all"
        else:
            why = "it is the same partition of the tasks as another grouping"
        yield f"{name} as {', '.join(absent)}: not trained, {why}."


def _statistics(plan: Plan, evaluated: Jobs) -> Iterator[str]:
    margins, primary = plan.config.evaluation.margins, {}
    for name, one in evaluated.items():
        for task, card in one.scorecard.tasks.items():
            primary[task] = card.primary
            for score, found in card.scores.items():
                if found.value is None or found.interval is None:
                    yield f"{score} of {name} on {task} has {_lacks(found.value)}: {found.note}."
    for task, score in primary.items():
        if score not in margins:
            yield (
                f"evaluation.margins has none for {score}, so nothing can be shown to be as good as another on {task}."
            )
    if len(training_seeds(plan.config)) == 1:
        yield "Every job was trained once (evaluation.seeds): how far scores vary with the seed is not known."


def _lacks(value: float | None) -> str:
    return "no value" if value is None else "no interval"


def _costs(plan: Plan) -> Iterator[str]:
    for name, model in plan.config.models.items():
        if isinstance(model, ApiModel):
            if model.prices_as_of is None:
                yield f"The token prices of {name} have no date (prices_as_of); they may have changed."
        elif hourly_price(plan, name) is None:
            yield f"{name} has no cost in USD: its hardware is not named, or has no usd_per_hour."


def _presentation(plan: Plan) -> Iterator[str]:
    if plan.config.report.texts == "redact":
        yield "The texts of wrong answers are withheld (report.texts: redact); the predictions on storage hold them."
