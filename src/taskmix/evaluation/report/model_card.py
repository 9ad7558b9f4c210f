"""A model card for each bundle of a report, in the Hugging Face format: README.md with YAML front matter.

Rendered from the report alone, like its other pages, so a card says what the report says and the same report gives the
same bytes. It lies with the report and not with the bundle: bundles are written once, before anything is measured.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from taskmix.evaluation.intervals import Interval
from taskmix.evaluation.report.model import DatasetRow, JobRow, Report
from taskmix.evaluation.report.render import cell, environment
from taskmix.evaluation.scorecard import LabelRow, TaskScorecard

CARDS_FOLDER = "cards"
CARD_FILE = "README.md"
WEAKEST = 10
"""Labels that a card names as its weakest."""
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
TASK_TYPES = {"classification": "text-classification", "slot_filling": "token-classification"}
"""Hugging Face's words for ours."""
METRIC_TYPES = {"accuracy": "accuracy", "macro_f1": "f1", "span_f1": "f1"}
"""Scores that Hugging Face's index knows, and its word for each."""


@dataclass(frozen=True)
class CardFacts:
    """What a card tells of one bundle.

    Attributes:
        job: the bundle's.
        tasks: its scores by task.
        datasets: that it learned from.
        base: hub id of the checkpoint that it was tuned from; null for none, and for one of a folder or a bucket.
    """

    job: JobRow
    tasks: tuple[TaskScorecard, ...]
    datasets: tuple[DatasetRow, ...]
    base: str | None


def render_cards(report: Report) -> dict[str, str]:
    """Job name to its card, for the jobs that the report tells in full."""
    found = {}
    for job in report.jobs:
        tasks = tuple(detail.card for detail in report.details if detail.job == job.name)
        if tasks:
            found[job.name] = render_card(report, job, tasks)
    return found


def render_card(report: Report, job: JobRow, tasks: tuple[TaskScorecard, ...]) -> str:
    """One bundle's card."""
    names = {report.config.tasks[task].dataset for task in job.tasks}
    datasets = tuple(row for row in report.datasets if row.name in names)
    checkpoint = getattr(report.config.models[job.model], "checkpoint", None)
    base = checkpoint.partition("@")[0] if checkpoint else ""
    facts = CardFacts(job, tasks, datasets, base if HUB_ID.fullmatch(base) else None)
    body = (
        environment(autoescape=False)
        .get_template("card.md.j2")
        .render(report=report, facts=facts, job=job, weakest=weakest, cell=cell)
    )
    body = re.sub(r"\n{3,}", "\n\n", body).strip()
    metadata = front_matter(report, facts).to_yaml(line_break="\n").strip()
    return f"---\n{metadata}\n---\n\n{body}\n"


def front_matter(report: Report, facts: CardFacts) -> ModelCardData:
    """The metadata, with the model index: each task's scores on the test split with their intervals."""
    licences = [row.card.get("source", {}).get("licence") for row in facts.datasets]
    locales = [row.card.get("config", {}).get("locale") for row in facts.datasets]
    hub_sets = [row.card["config"]["path"] for row in facts.datasets if row.card.get("config", {}).get("path")]
    tags = ["taskmix", facts.job.kind, *facts.job.tasks]
    return ModelCardData(
        model_name=f"{report.config.name} {facts.job.name}",
        library_name="taskmix",
        pipeline_tag=TASK_TYPES[facts.tasks[0].type],
        tags=tags,
        base_model=facts.base,
        datasets=hub_sets or None,
        language=sorted({locale.partition("-")[0] for locale in locales if locale}) or None,
        metrics=sorted({METRIC_TYPES[name] for card in facts.tasks for name in card.scores if name in METRIC_TYPES}),
        eval_results=[result for card in facts.tasks for result in _results(card, facts)],
        data_licences=sorted({licence for licence in licences if licence}) or None,
    )


def weakest(card: TaskScorecard) -> list[LabelRow]:
    """The labels that occur in test and come out worst."""
    known = [row for row in card.per_label if row.gold and row.f1 is not None]
    return sorted(known, key=lambda row: (row.f1 or 0.0, row.label))[:WEAKEST]


def _results(card: TaskScorecard, facts: CardFacts) -> list[EvalResult]:
    dataset = next(row for row in facts.datasets if row.name == card.dataset)
    results = []
    for name, score in card.scores.items():
        if name not in METRIC_TYPES or score.value is None:
            continue
        results.append(
            EvalResult(
                task_type=TASK_TYPES[card.type],
                task_name=card.task,
                dataset_type=str(dataset.card.get("config", {}).get("path") or dataset.name),
                dataset_name=dataset.name,
                dataset_config=card.task,  # parts tasks of one dataset: the index joins what agrees in all of these
                dataset_split="test",
                dataset_args={"version": str(dataset.card["version"]), "texts": card.examples},
                metric_type=METRIC_TYPES[name],
                metric_name=name,
                metric_value=round(score.value, 4),
                metric_args=_interval(score.interval),
            )
        )
    return results


def _interval(found: Interval | None) -> dict[str, Any] | None:
    if found is None:
        return None
    ends = {"low": round(found.low, 4), "high": round(found.high, 4)}
    return {"confidence": found.confidence, "interval": found.method, **ends}
