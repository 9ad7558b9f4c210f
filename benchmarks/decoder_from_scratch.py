"""What tiny Llamas learn from random weights on the quickstart's data: one a task, merged, joint, with linear heads.

    OMP_NUM_THREADS=1 python benchmarks/decoder_from_scratch.py            # four minutes of one core
    OMP_NUM_THREADS=1 python benchmarks/decoder_from_scratch.py --quick    # less data, topic and intent only: seconds

The steps are the pipeline's: ingest, finetune, evaluate, below a temporary storage. Data and tasks are those of
configs/quickstart.yaml. Prompts are short (the text and the task's name): these models know no words, so a list of
labels tells them nothing and makes every example three times as long. Scores are of test, in per cent, beside a guess
among all labels and the most frequent label of train; `freely` repeats the merged training (same seed, same weights)
and lets the model write what it likes, to count what the constraints remove.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from taskmix import storage
from taskmix.config.plan import Job, Plan, make_plan
from taskmix.config.schema import Config
from taskmix.data.dataset import Dataset, load_dataset
from taskmix.data.ingest import ingest, source_version
from taskmix.evaluation.evaluate import evaluate
from taskmix.evaluation.scorecard import Scorecard, TaskScorecard, read_scorecard
from taskmix.training.job import finetune

QUICKSTART = Path(__file__).resolve().parents[1] / "configs/quickstart.yaml"
ARCHITECTURE = {"layers": 2, "hidden": 96, "heads": 4, "feed_forward": 256, "vocabulary": 2000}
RECIPE = {"epochs": 4, "learning_rate": 2e-3, "tokens_per_batch": 1024, "max_tokens": 160, "precision": "fp32"}
FREELY = {"label_decoding": "free", "slot_decoding": "free"}
SYSTEMS: dict[str, tuple[str, dict[str, Any]]] = {
    "single": ("single", {}),
    "merged": ("merged", {}),
    "merged, answers: joint": ("merged", {"answers": "joint"}),
    "merged, head: classifier": ("merged", {"head": "classifier"}),
    "merged, written freely": ("merged", FREELY),
}
"""Row of the table to grouping and settings of the model."""
QUICK_ROWS = {"train": 1200, "dev": 100, "test": 200, "noise": 0.0}
QUICK_TASKS = ("intent", "topic")


def make_config(root: str, *, quick: bool, recipe: Mapping[str, Any], architecture: Mapping[str, Any]) -> Config:
    """The quickstart with decoders, and with prompts as short as they can be."""
    quickstart = yaml.safe_load(QUICKSTART.read_text(encoding="utf-8"))
    if quick:
        quickstart["datasets"]["utterances"].update(QUICK_ROWS)
    tasks = {
        name: {**task, "prompt": {"header": "", "question": f"{{text}}\n{name}:"}}
        for name, task in quickstart["tasks"].items()
        if name in QUICK_TASKS or not quick
    }
    shared = {"kind": "decoder", "architecture": architecture, "recipe": recipe}
    return Config.model_validate(
        {
            "name": "from-scratch",
            "seed": quickstart["seed"],
            "storage": root,
            "datasets": quickstart["datasets"],
            "tasks": tasks,
            "groupings": quickstart["groupings"],
            "models": {model_name(row): {**shared, **settings} for row, (_, settings) in SYSTEMS.items()},
            "systems": [f"{model_name(row)}/{grouping}" for row, (grouping, _) in SYSTEMS.items()],
            "evaluation": {"resamples": 100, "latency_texts": 20},
        }
    )


def model_name(row: str) -> str:
    """The configuration's name for the model of a row of the table."""
    return "".join(letter if letter.isalnum() else "-" for letter in row).replace("--", "-")


def measure(plan: Plan, job: Job, *, dataset: str) -> Scorecard:
    """Train and evaluate one job, as the pipeline's steps do."""
    root = plan.config.storage
    trained = finetune(plan.job_slice(job), datasets=[dataset], storage=root)
    return read_scorecard(evaluate(trained, slice=plan.evaluation_slice(), datasets=[dataset]))


def baselines(dataset: Dataset) -> dict[str, tuple[float, float]]:
    """Task to the accuracy of a guess among all labels and of train's most frequent label, in per cent."""
    found = {}
    for task, labels in dataset.label_spaces.items():
        train, test = ([row.labels.get(task) for row in dataset.rows(split)] for split in ("train", "test"))
        if not isinstance(train[0], str):
            continue
        ((frequent, _),) = Counter(train).most_common(1)
        found[task] = (100 / len(labels.labels), 100 * test.count(frequent) / len(test))
    return found


def figures(cards: list[Scorecard], *, tasks: list[str]) -> list[str]:
    """One row of the table: a score a task, the highest share of invalid answers, seconds of training, ms a text."""
    scored: dict[str, TaskScorecard] = {task: card.tasks[task] for card in cards for task in card.tasks}
    invalid = max((card.scores["invalid_rate"].value or 0.0) for card in scored.values())
    seconds = sum(card.job.training_seconds for card in cards)
    milliseconds = sum(speed.p50_ms for card in cards for speed in card.speed.values())
    scores = [f"{100 * (scored[task].primary_score.value or 0.0):.1f}" for task in tasks]
    return [*scores, f"{100 * invalid:.1f}", f"{seconds:.0f}", f"{milliseconds:.1f}"]


def run(arguments: argparse.Namespace, *, root: str) -> Table:
    """Measure every system that was asked for."""
    recipe = {**RECIPE, **{name: value for name in RECIPE if (value := getattr(arguments, name, None)) is not None}}
    architecture = {**ARCHITECTURE, **{name: getattr(arguments, name) for name in ("layers", "hidden")}}
    config = make_config(root, quick=arguments.quick, recipe=recipe, architecture=architecture)
    plan = make_plan(config)
    data = plan.dataset_slice("utterances")
    dataset = ingest(data, storage=root, version=source_version(data))
    with storage.local_copy(dataset) as folder:
        guesses = baselines(load_dataset(folder))
    tasks = list(config.tasks)
    table = Table("", *(f"{task} {'accuracy' if task in guesses else 'F1'}" for task in tasks), "invalid", "s", "ms")
    for column, name in enumerate(("a guess among all labels", "the most frequent label")):
        table.add_row(name, *(f"{guesses[task][column]:.1f}" if task in guesses else "" for task in tasks))
    for row, system in zip(SYSTEMS, plan.systems, strict=True):
        if row in arguments.rows:
            table.add_row(row, *figures([measure(plan, job, dataset=dataset) for job in system.jobs], tasks=tasks))
    return table


def main() -> None:
    """Read the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="less data, without noise; no slots")
    parser.add_argument("--rows", nargs="+", choices=list(SYSTEMS), default=list(SYSTEMS))
    parser.add_argument("--layers", type=int, default=ARCHITECTURE["layers"])
    parser.add_argument("--hidden", type=int, default=ARCHITECTURE["hidden"])
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--tokens-per-batch", type=int)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        Console(width=120).print(run(arguments, root=root))


if __name__ == "__main__":
    main()
