"""A job's bundle answers every test example: predictions and a scorecard, published beside the bundle."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from taskmix import __version__, storage
from taskmix.config.plan import EvaluationSlice
from taskmix.data.dataset import Dataset, load_dataset
from taskmix.errors import EvaluationError
from taskmix.evaluation.latency import describe_machine, measure_speed
from taskmix.evaluation.predictions import Predictions, collect_predictions, write_predictions
from taskmix.evaluation.scorecard import (
    PREDICTIONS_FOLDER,
    SCORECARD_FILE,
    DatasetFacts,
    JobFacts,
    Scorecard,
    Speed,
    Spending,
    TaskScorecard,
)
from taskmix.evaluation.scoring import score_task
from taskmix.modeling.answers import Consultant, Model
from taskmix.modeling.bundle import CARD_FILE, BundleCard, answers_folder, installed_versions, load_model, read_card

log = logging.getLogger(__name__)

LoadModel = Callable[[Path], Model]
BUNDLE_FOLDER = "bundle"
EVALUATION_FORMAT = 4
"""Counts up when the scores of the same answers would come out otherwise: old evaluations are then not reused."""


def evaluate(job: str, *, slice: EvaluationSlice, datasets: Sequence[str], load: LoadModel | None = None) -> str:
    """Evaluate a trained job on the test splits of its tasks' datasets.

    Args:
        job: URI of the job; its bundle lies at `bundle/`.
        slice: how to measure.
        datasets: URIs of the datasets of the job's tasks.
        load: makes a model of the local folder of a bundle; null loads it as serving does.

    Returns:
        URI of the evaluation, `<job>/evaluation/<hash>`. What decides the scores gives the hash: one found complete is
        reused.

    Raises:
        EvaluationError: a task's dataset is not among `datasets`, or has no test row with a label for it.
        StorageError: bundle or data cannot be read.
    """
    bundle = storage.join(job, BUNDLE_FOLDER)
    manifest = storage.read_manifest(bundle)
    with storage.fetch_file(storage.join(bundle, CARD_FILE)) as path:
        card = read_card(path.parent)
    with ExitStack() as stack:
        used = _datasets_of(card, {uri: load_dataset(stack.enter_context(storage.local_copy(uri))) for uri in datasets})
        target = storage.join(job, "evaluation", _fingerprint(card, used, slice, bundle=manifest.sha256))
        if storage.is_complete(target):
            log.info("reused evaluation=%s", target)
            return target
        facts = JobFacts(
            name=card.job.name,
            seed=card.job.seed,
            uri=job,
            bundle=bundle,
            manifest=manifest.sha256,
            kind=card.kind,
            tasks=tuple(card.heads),
            bytes=sum(entry.bytes for entry in manifest.files),
            parameters=card.training.parameters,
            training_seconds=card.training.seconds,
            epochs=card.training.epochs,
            history=card.training.history,
            precision=card.training.precision,
            versions=card.versions,
        )
        folder = stack.enter_context(storage.local_copy(bundle))
        model = load(folder) if load else load_model(folder, answers=answers_folder(bundle, card), keep=True)
        scorecard, predictions = measure_model(model, job=facts, datasets=used, slice=slice)
        _publish(scorecard, predictions, target)
    scores = {task: scored.primary_score.value for task, scored in scorecard.tasks.items()}
    log.info("evaluated job=%s scores=%s", facts.name, scores)
    return target


def measure_model(
    model: Model, *, job: JobFacts, datasets: Mapping[str, Dataset], slice: EvaluationSlice
) -> tuple[Scorecard, dict[str, Predictions]]:
    """Time a model, let it answer every test example, and score the answers.

    Args:
        model: answers all of `job.tasks`.
        job: what to tell of it.
        datasets: URI to dataset; together they hold every task of the job.
        slice: how to measure.
    """
    predictions: dict[str, Predictions] = {}
    scored: dict[str, TaskScorecard] = {}
    speeds: dict[str, Speed] = {}
    facts: dict[str, DatasetFacts] = {}
    for uri, dataset in datasets.items():
        tasks = [task for task in job.tasks if task in dataset.label_spaces]
        rows = dataset.rows("test")
        settings = slice.evaluation
        speed, answers = measure_speed(
            model, dataset=dataset.name, tasks=tasks, rows=rows, texts=settings.latency_texts, seed=slice.seed
        )
        speeds[dataset.name] = speed
        hashes = {task: dataset.task_hashes[task] for task in tasks}
        facts[dataset.name] = DatasetFacts(name=dataset.name, uri=uri, test_rows=len(rows), task_hashes=hashes)
        for task in tasks:
            given = [answer[task] for answer in answers]
            predictions[task] = collect_predictions(model.heads[task], rows=rows, answers=given)
            scored[task] = score_task(predictions[task], dataset=dataset.name, rows=len(rows), slice=slice)
    scorecard = Scorecard(
        job=job,
        slice=slice,
        datasets=facts,
        tasks=scored,
        speed=speeds,
        spending=Spending(**asdict(model.receipt())) if isinstance(model, Consultant) else None,
        machine=describe_machine(),
        versions=installed_versions(),
    )
    return scorecard, predictions


def _datasets_of(card: BundleCard, datasets: Mapping[str, Dataset]) -> dict[str, Dataset]:
    """The datasets that the job's tasks are asked of, by URI."""
    by_name = {dataset.name: (uri, dataset) for uri, dataset in datasets.items()}
    for task, spec in card.job.tasks.items():
        known = by_name.get(spec.dataset)
        if known is None:
            raise EvaluationError(
                f"job '{card.job.name}': task '{task}' is asked of dataset '{spec.dataset}', but the datasets given "
                f"are {sorted(by_name)}; give the URI of '{spec.dataset}' as well"
            )
        if task not in known[1].label_spaces:
            raise EvaluationError(
                f"{known[0]}: dataset '{spec.dataset}' holds the tasks {sorted(known[1].label_spaces)}, not '{task}' "
                f"of job '{card.job.name}'; ingest the dataset again with this task"
            )
    return dict(by_name[name] for name in card.job.datasets)


def _fingerprint(card: BundleCard, datasets: Mapping[str, Dataset], slice: EvaluationSlice, *, bundle: str) -> str:
    by_name = {dataset.name: dataset for dataset in datasets.values()}
    rows = {dataset.name: dataset.table("test")["id"].to_pylist() for dataset in datasets.values()}
    return storage.fingerprint(
        {
            "bundle": bundle,
            "tasks": {task: by_name[spec.dataset].task_hashes[task] for task, spec in card.job.tasks.items()},
            "test rows": rows,
            "slice": slice.model_dump(mode="json"),
            "format": EVALUATION_FORMAT,
            "taskmix": __version__,
        }
    )


def _publish(scorecard: Scorecard, predictions: Mapping[str, Predictions], target: str) -> None:
    with tempfile.TemporaryDirectory(prefix="taskmix-evaluation-") as name:
        folder = Path(name)
        (folder / PREDICTIONS_FOLDER).mkdir()
        for task, answered in predictions.items():
            write_predictions(answered, folder / PREDICTIONS_FOLDER / f"{task}.parquet")
        (folder / SCORECARD_FILE).write_text(scorecard.model_dump_json(indent=1) + "\n", encoding="utf-8")
        storage.publish(folder, target, about={"job": scorecard.job.name})
