"""Exporting a system: its encoders for another backend, each evaluated again, and refused where it lost too much.

The texts are those of the bundle's evaluation, so the export is held against answers that are on record. What is
compared: the primary score of each task, and the answers to some texts asked alone against the same texts in batches,
since reduced precision can let the neighbours in a batch move an answer.
"""

from __future__ import annotations

import dataclasses
import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from taskmix import __version__, storage
from taskmix.config import schema
from taskmix.data.dataset import Row
from taskmix.errors import EvaluationError
from taskmix.evaluation.predictions import Predictions, collect_predictions, read_predictions, write_predictions
from taskmix.evaluation.report.model import read_report
from taskmix.evaluation.scorecard import PREDICTIONS_FOLDER
from taskmix.modeling.answers import Answer, ClassificationAnswer, Model, SlotsAnswer, TaskHead
from taskmix.modeling.bundle import BundleCard, installed_versions, read_card
from taskmix.modeling.exports import EXPORT_FILE, ONNX_FILE, BackendName, ExportCard, TaskCheck, load_with
from taskmix.modeling.scores import accuracy, span_f1
from taskmix.modeling.system import BundleRecord, read_system_record

log = logging.getLogger(__name__)

EXPORT_FORMAT = 1
"""Counts up when the same bundle would be exported otherwise: old exports are then not reused."""
ALONE_TEXTS = 256
"""Texts of each task asked alone as well as in batches, spread evenly over the test split. Arbitrary."""
LEAST_TOLERANCE = 1e-3
"""Of probabilities: what summing floats in another order comes to."""


@dataclass(frozen=True)
class _Comparison:
    """One task of an export beside the bundle's own answers."""

    check: TaskCheck
    recorded: Predictions
    drift: float
    """How far a batch moved the probability of an answer that it did not change."""


def export_system(system: str, *, backend: BackendName, max_loss: float, output: str | None = None) -> str:
    """Export every encoder of a system, and write a record of the system that names the exports.

    Args:
        system: URI of a system's record, `<storage>/runs/<run>/systems/<model>.<grouping>.json`, or any other name
            that a system goes by, if `output` is given.
        backend: what shall compute.
        max_loss: what each task's primary score may lose, and the share of answers that company in a batch may move.
        output: URI of the record to write; null is `<storage>/runs/<run>/exports/<model>.<grouping>.<backend>.json`.

    Returns:
        URI of the record; `load_system` takes it. Bundles that are no encoders stand in it as they were.

    Raises:
        EvaluationError: a bundle was never evaluated, or its export lost too much.
        BundleError: torch cannot export the architecture.
        MissingExtra: the packages that write ONNX are not installed.
    """
    target = output or exported_record(system, backend)
    record = read_system_record(system)
    bundles = tuple(_with_export(bundle, backend=backend, max_loss=max_loss) for bundle in record.bundles)
    storage.write_json(
        target, record.model_copy(update={"bundles": bundles}).model_dump(mode="json", exclude_none=True), replace=True
    )
    log.info("exported system=%s backend=%s record=%s", record.name, backend, target)
    return target


def export_winner(report: str, *, backend: BackendName, max_loss: float) -> str:
    """Export the system that a report ranks first; see `export_system`."""
    return export_system(read_report(report).best.record, backend=backend, max_loss=max_loss)


def exported_record(system: str, backend: str) -> str:
    """Where the record of a system's export lies: below its run, beside the folder of the system's own record.

    Raises:
        EvaluationError: `system` is no record in a run.
    """
    folder, _, name = system.rpartition("/")
    run, _, systems = folder.rpartition("/")
    if systems != "systems" or not name.endswith(".json"):
        raise EvaluationError(
            f"{storage.redact(system)}: is not the record of a system in a run, so where to write the record of its "
            "export is not clear; give <storage>/runs/<run>/systems/<model>.<grouping>.json, or say where (--output)"
        )
    return storage.join(run, "exports", f"{name.removesuffix('.json')}.{backend}.json")


def _with_export(bundle: BundleRecord, *, backend: BackendName, max_loss: float) -> BundleRecord:
    """The bundle's record with its export named, which is made where it is not there yet."""
    with storage.local_copy(bundle.uri) as folder:
        card = read_card(folder)
        if card.kind != "encoder":
            log.info("left as it is bundle=%s kind=%s", bundle.uri, card.kind)
            return bundle
        if bundle.evaluation is None:
            raise EvaluationError(
                f"{storage.redact(bundle.uri)}: the system's record names no evaluation of it, so an export has "
                "nothing to be compared with; give the record of a system that a run has evaluated"
            )
        manifest = storage.read_manifest(bundle.uri).sha256
        uri = _export_uri(bundle, manifest=manifest, backend=backend, max_loss=max_loss)
        if storage.is_complete(uri):
            log.info("reused export=%s", uri)
        else:
            _export(folder, card, bundle=bundle, manifest=manifest, backend=backend, max_loss=max_loss, target=uri)
    return bundle.model_copy(
        update={"manifest": manifest, "export": uri, "export_manifest": storage.read_manifest(uri).sha256}
    )


def _export_uri(bundle: BundleRecord, *, manifest: str, backend: BackendName, max_loss: float) -> str:
    versions = installed_versions()
    name = storage.fingerprint(
        {
            "bundle": manifest,
            "evaluation": bundle.evaluation,
            "backend": backend,
            "max_loss": max_loss,
            "format": EXPORT_FORMAT,
            "versions": {package: versions.get(package) for package in ("torch", "onnxruntime")},
            "taskmix": __version__,
        }
    )
    return storage.join(bundle.uri.rstrip("/").rpartition("/")[0], "exports", name)


def _export(
    folder: Path,
    card: BundleCard,
    *,
    bundle: BundleRecord,
    manifest: str,
    backend: BackendName,
    max_loss: float,
    target: str,
) -> None:
    """Make, evaluate and publish the export of the bundle in `folder`."""
    assert bundle.evaluation is not None
    with tempfile.TemporaryDirectory(prefix="taskmix-export-") as name:
        made = Path(name)
        write_files(folder, card, backend=backend, into=made)
        model = load_with(backend, folder, card, export=made, device="cpu" if backend != "torch-bf16" else "auto")
        compared = _compare(model, reference=_reference(bundle.evaluation, tasks=list(card.heads)))
        _refuse_losses({task: one.check for task, one in compared.items()}, bundle, backend=backend, max_loss=max_loss)
        export = ExportCard(
            backend=backend,
            bundle=manifest,
            evaluation=bundle.evaluation,
            max_loss=max_loss,
            checks={task: one.check for task, one in compared.items()},
            probability_tolerance=max(LEAST_TOLERANCE, 2 * max(one.drift for one in compared.values())),
            versions=installed_versions(),
        )
        (made / PREDICTIONS_FOLDER).mkdir()
        for task, one in compared.items():
            write_predictions(one.recorded, made / PREDICTIONS_FOLDER / f"{task}.parquet")
        (made / EXPORT_FILE).write_text(export.model_dump_json(indent=1) + "\n", encoding="utf-8")
        storage.publish(made, target, about={"bundle": bundle.uri, "backend": backend})


def write_files(folder: Path, card: BundleCard, *, backend: BackendName, into: Path) -> None:
    """Write what `backend` needs beside the bundle in `folder`; torch needs nothing."""
    if backend == "torch-bf16":
        return
    from taskmix.modeling.encoder import load_module
    from taskmix.modeling.onnx_export import quantize, write_onnx

    assert isinstance(card.job.model, schema.EncoderModel)
    plain = into / ONNX_FILE
    write_onnx(load_module(folder, card), plain, max_tokens=card.job.model.recipe.max_tokens)
    if backend == "onnx-int8":
        full = plain.rename(into / "full.onnx")
        quantize(full, plain)
        full.unlink()


def _reference(evaluation: str, *, tasks: Sequence[str]) -> dict[str, Predictions]:
    """The bundle's own answers."""
    with storage.local_copy(evaluation) as folder:
        return {task: read_predictions(folder / PREDICTIONS_FOLDER / f"{task}.parquet") for task in tasks}


def _compare(model: Model, *, reference: Mapping[str, Predictions]) -> dict[str, _Comparison]:
    return {task: _compare_task(model, model.heads[task], theirs) for task, theirs in reference.items()}


def _compare_task(model: Model, head: TaskHead, theirs: Predictions) -> _Comparison:
    """Ask the export one task's test examples, all in batches and some alone too."""
    examples, task = theirs.examples, head.name
    answers = [answer[task] for answer in model.predict(examples.texts, tasks=[task])]
    chosen = np.unique(np.linspace(0, len(examples) - 1, min(ALONE_TEXTS, len(examples))).astype(int)).tolist()
    alone = {index: model.predict([examples.texts[index]], tasks=[task])[0][task] for index in chosen}
    steady = [index for index in chosen if _said(alone[index]) == _said(answers[index])]
    predicted = [_said(answer) for answer in answers]
    check = TaskCheck(
        texts=len(examples),
        reference=_score(head, theirs.gold, theirs.predicted),
        score=_score(head, theirs.gold, predicted),
        agreement=float(np.mean([ours == own for ours, own in zip(predicted, theirs.predicted, strict=True)])),
        alone=len(chosen),
        moved_by_company=len(chosen) - len(steady),
    )
    drift = max((_apart(alone[index], answers[index]) for index in steady), default=0.0)
    return _Comparison(check, _recorded(head, theirs, answers, kept=steady), drift)


def _said(answer: Answer) -> object:
    return answer.label if isinstance(answer, ClassificationAnswer) else answer.spans


def _score(head: TaskHead, gold: Sequence[Any], predicted: Sequence[Any]) -> float:
    """The task's primary score."""
    return accuracy(gold, predicted) if head.type == "classification" else span_f1(gold, predicted)


def _apart(left: Answer, right: Answer) -> float:
    """The greatest difference between the probabilities of two answers that say the same."""
    if isinstance(left, ClassificationAnswer) and isinstance(right, ClassificationAnswer):
        return abs(left.probability - right.probability)
    assert isinstance(left, SlotsAnswer)
    assert isinstance(right, SlotsAnswer)
    return max((abs(a - b) for a, b in zip(left.probabilities, right.probabilities, strict=True)), default=0.0)


def _recorded(head: TaskHead, theirs: Predictions, answers: Sequence[Answer], *, kept: Sequence[int]) -> Predictions:
    """The export's answers to the examples at `kept`, with their places in the test split."""
    examples = theirs.examples
    rows = [Row(examples.ids[i], examples.texts[i], {head.name: theirs.gold[i]}) for i in kept]
    collected = collect_predictions(head, rows=rows, answers=[answers[i] for i in kept])
    placed = dataclasses.replace(collected.examples, rows=examples.rows[list(kept)])
    return dataclasses.replace(collected, examples=placed)


def _refuse_losses(
    checks: Mapping[str, TaskCheck], bundle: BundleRecord, *, backend: BackendName, max_loss: float
) -> None:
    """Refuse an export that answers worse, or whose answers hang on their neighbours.

    Raises:
        EvaluationError: telling every task that fails, with figures.
    """
    told = []
    for task, check in checks.items():
        if check.reference - check.score > max_loss:
            told.append(
                f"task '{task}' scores {check.score:.4f} instead of {check.reference:.4f} on {check.texts} texts"
            )
        if check.moved_by_company > max_loss * check.alone:
            told.append(
                f"task '{task}': {check.moved_by_company} of {check.alone} texts are answered otherwise in a batch"
            )
    if told:
        raise EvaluationError(
            f"{storage.redact(bundle.uri)}: its export for backend '{backend}' loses more than the {max_loss} that "
            f"deployment.max_backend_loss allows: {'; '.join(told)}; choose another backend or allow more"
        )
