"""The linear model on the real data, beside the reference figures that it must reach within half a point.

    .venv/bin/python benchmarks/linear_reference.py [--data ../shared/data] [--only massive]

Trains each job as a pipeline would (the default values of C, chosen on dev; dev is never learnt from) and prints test
scores in per cent. Minutes, on one core; the references are those of the linear baseline's specification.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from taskmix.config.plan import DatasetSlice, JobSlice
from taskmix.data.dataset import load_dataset
from taskmix.data.ingest import build_dataset
from taskmix.data.schema import Span
from taskmix.modeling.answers import ClassificationAnswer, SlotsAnswer
from taskmix.modeling.bundle import load_model
from taskmix.modeling.scores import accuracy, span_f1
from taskmix.training.job import job_heads, train_into

TOLERANCE = 0.5
"""Percentage points that a score may lie below its reference."""


@dataclass(frozen=True)
class Case:
    """A dataset as one job sees it, and what is expected of it on test, in per cent."""

    name: str
    dataset: dict[str, Any]
    tasks: dict[str, dict[str, str]]
    expected: dict[str, float]


def cases(data: Path) -> list[Case]:
    """The datasets and references, those of the data under `data`."""
    massive = {"format": "massive", "uri": str(data / "massive/en-US.jsonl")}
    posts = {"format": "20newsgroups", "uri": str(data / "20news-bydate/20news-bydate.tar.gz")}
    commands = {
        "intent": {"type": "classification", "dataset": "real", "label": "intent"},
        "slots": {"type": "slot_filling", "dataset": "real", "annotation": "annot_utt"},
    }
    topics = {
        "topic20": {"type": "classification", "dataset": "real", "label": "group"},
        "topic7": {"type": "classification", "dataset": "real", "label": "area"},
    }
    stripped = ("headers", "footers", "quotes")
    return [
        Case("massive", massive, commands, {"intent": 86.5, "slots": 74.1}),
        Case("20ng raw", posts, topics, {"topic20": 86.3, "topic7": 91.4}),
        Case("20ng no headers", posts | {"strip": stripped[:1]}, topics, {"topic20": 82.9, "topic7": 89.3}),
        Case("20ng stripped", posts | {"strip": stripped}, topics, {"topic20": 70.2, "topic7": 79.4}),
    ]


def measure(case: Case) -> tuple[dict[str, float], float]:
    """Test scores in per cent by task, of the bundle as loaded from disk, and the seconds that training took."""
    with tempfile.TemporaryDirectory() as name:
        data, bundle = Path(name) / "data", Path(name) / "bundle"
        data.mkdir()
        bundle.mkdir()
        part = {"name": "real", "seed": 13, "dataset": case.dataset, "tasks": case.tasks}
        build_dataset(DatasetSlice.model_validate(part), folder=data, version="0" * 16)
        datasets = {"real": load_dataset(data)}
        job = JobSlice.model_validate(
            {"model_name": "svm", "seed": 13, "model": {"kind": "linear"}, "tasks": case.tasks}
        )
        started = time.process_time()
        train_into(bundle, job, datasets=datasets, heads=job_heads(job, datasets=datasets), checkpoints="")
        seconds = time.process_time() - started
        rows = datasets["real"].rows("test")
        answers = load_model(bundle).predict([row.text for row in rows])
    scores = {}
    for task in case.tasks:
        gold: list[Any] = [row.labels[task] for row in rows]
        scores[task] = 100 * primary_score(gold, [answer[task] for answer in answers])
    return scores, seconds


def primary_score(gold: Sequence[Any], answers: Sequence[Any]) -> float:
    """Accuracy, or span F1 by exact match, in [0, 1]."""
    labels = [answer.label for answer in answers if isinstance(answer, ClassificationAnswer)]
    spans: list[tuple[Span, ...]] = [answer.spans for answer in answers if isinstance(answer, SlotsAnswer)]
    return accuracy(gold, labels) if labels else span_f1(gold, spans)


def main() -> None:
    """Measure what is asked and print it beside the references."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--only", default="", help="names of cases that start so")
    arguments = parser.parse_args()
    table = Table("data", "task", "reference", "ours", "difference", "reached", "training, CPU s")
    for case in cases(arguments.data):
        if not case.name.startswith(arguments.only):
            continue
        scores, seconds = measure(case)
        for task, score in scores.items():
            reference = case.expected[task]
            reached = "yes" if score >= reference - TOLERANCE else "no"
            figures = (f"{reference:.1f}", f"{score:.2f}", f"{score - reference:+.2f}", reached, f"{seconds:.0f}")
            table.add_row(case.name, task, *figures)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
