"""Real bundles of tiny encoders with random weights, their evaluations, and a run with a report."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from transformers import BertConfig, BertModel

from taskmix import storage
from taskmix.config.plan import JobSlice
from taskmix.data.dataset import Row
from taskmix.data.schema import Span, split_words
from taskmix.evaluation.predictions import collect_predictions, write_predictions
from taskmix.modeling.answers import TaskHead
from taskmix.modeling.bundle import BundleCard, TrainingRecord, load_model, write_card
from taskmix.modeling.encoder import MultiTaskEncoder, save_encoder, without_pooler
from taskmix.training.scratch import train_tokenizer

HEADS = {
    "intent": {"type": "classification", "labels": ("alarm", "music", "weather", "news")},
    "slots": {"type": "slot_filling", "labels": ("time", "place")},
}
TASKS = {
    "intent": {"type": "classification", "dataset": "words", "label": "intent"},
    "slots": {"type": "slot_filling", "dataset": "words", "annotation": "slots"},
}
SPOKEN = "wake me at nine please play some music in london tell the news is it raining today or was it paris"
WORDS = [word.text for word in split_words(SPOKEN)]
TEXTS = [" ".join(WORDS[(7 * i + 3 * j) % len(WORDS)] for j in range(2 + i % 6)) for i in range(60)]


def publish_bundle(uri: str, *, tasks: Sequence[str] = ("intent", "slots"), seed: int = 1) -> storage.Manifest:
    """Publish an encoder whose weights are drawn with `seed`; the same seed publishes the same bytes."""
    torch.manual_seed(seed)
    tokenizer = train_tokenizer(TEXTS, vocabulary=120)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.5,
    )
    architecture = {"layers": 1, "hidden": 32, "heads": 2, "feed_forward": 64}
    model = {"kind": "encoder", "architecture": architecture, "recipe": {"max_tokens": 32}}
    job = {"model_name": "tiny", "seed": seed, "model": model, "tasks": {task: TASKS[task] for task in tasks}}
    card = BundleCard.model_validate(
        {
            "kind": "encoder",
            "job": JobSlice.model_validate(job),
            "heads": {task: HEADS[task] for task in tasks},
            "temperatures": {task: 0.5 for task in tasks},
            "rejection_thresholds": {task: 0.5 for task in tasks if task == "intent"},
            "training": TrainingRecord(seconds=0, epochs=0, parameters=0),
            "versions": {},
        }
    )
    heads: Mapping[str, TaskHead] = card.task_heads
    module = MultiTaskEncoder(without_pooler(BertModel(config)), heads=heads, pooling="mean")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_encoder(module, folder, tokenizer=tokenizer)
        write_card(card, folder)
        return storage.publish(folder, uri)


def publish_evaluation(bundle: str, uri: str) -> None:
    """Publish what the bundle answers to `TEXTS`, in evaluation's own format."""
    rows = [Row(f"test-{i}", text, {"intent": "alarm", "slots": (Span(0, 1, "time"),)}) for i, text in enumerate(TEXTS)]
    with storage.local_copy(bundle) as source, tempfile.TemporaryDirectory() as name:
        model = load_model(source, device="cpu")
        answers = model.predict([row.text for row in rows])
        (Path(name) / "predictions").mkdir()
        for task, head in model.heads.items():
            predictions = collect_predictions(head, rows=rows, answers=[answer[task] for answer in answers])
            write_predictions(predictions, Path(name) / "predictions" / f"{task}.parquet")
        storage.publish(Path(name), uri)


def publish_run(root: str, *, run: str, blocks: Sequence[Sequence[str]] = (("intent", "slots"),), seed: int = 1) -> str:
    """A run with one system, accepted by the gate; returns the URI of its report.

    A run of the same seed finds the jobs of the one before it. The report holds what staging reads of it, in
    evaluation's own words.
    """
    bundles = []
    for block in blocks:
        job = storage.join(root, "jobs", f"tiny.{'+'.join(block)}", f"{seed:016d}")
        bundle, evaluation = storage.join(job, "bundle"), storage.join(job, "evaluation", "0" * 16)
        if not storage.is_complete(bundle):
            publish_bundle(bundle, tasks=block, seed=seed)
            publish_evaluation(bundle, evaluation)
        manifest = storage.read_manifest(bundle)
        bundles.append({"uri": bundle, "tasks": list(block), "evaluation": evaluation, "manifest": manifest.sha256})
    grouping = "merged" if len(blocks) == 1 else "single"
    tasks = {task: bundle["uri"] for bundle in bundles for task in bundle["tasks"]}
    record = storage.join(root, "runs", run, "systems", f"tiny.{grouping}.json")
    system = {"name": f"tiny/{grouping}", "model": "tiny", "grouping": grouping, "tasks": tasks, "bundles": bundles}
    storage.write_json(record, {**system, "run": run})
    row = {
        "name": f"tiny/{grouping}",
        "record": record,
        "mean": {"value": 0.5},
        "tasks": {"intent": {"accuracy": {"value": 0.4}}, "slots": {"span_f1": {"value": 0.6}}},
    }
    report = storage.join(root, "runs", run, "report")
    primary = {"intent": "accuracy", "slots": "span_f1"}
    summary = {
        "run": run,
        "primary": primary,
        "config": {"gate": {"rank_by": "mean"}, "deployment": {}},
        "systems": [row],
    }
    storage.write_json(storage.join(report, "report.json"), summary)
    verdict = {"accepted": True, "system": row["name"], "reasons": []}
    storage.write_json(storage.join(root, "runs", run, "gate.json"), verdict)
    return report
