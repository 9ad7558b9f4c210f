"""A model that knows the gold labels and forgets a stated share of them: real predictions of known quality."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from taskmix import storage
from taskmix.config.plan import JobSlice, Plan
from taskmix.data.dataset import Dataset
from taskmix.data.schema import LabelSpace, Span
from taskmix.modeling.answers import Answer, ClassificationAnswer, SlotsAnswer, TaskHead
from taskmix.modeling.bundle import BundleCard, TrainingRecord, head_cards, write_card

SETTINGS = "reciter.json"


class Reciter:
    """Implements `modeling.answers.Model`.

    Args:
        heads: the tasks it answers.
        gold: task to text to gold label.
        skill: share of the texts that it answers rightly.
        seed: which texts these are.
    """

    def __init__(
        self, heads: Mapping[str, TaskHead], *, gold: Mapping[str, Mapping[str, object]], skill: float, seed: int
    ) -> None:
        self.heads = heads
        self.calls = 0
        self._gold, self._skill, self._seed = gold, skill, seed

    def predict(self, texts: Sequence[str], *, tasks: Sequence[str] | None = None) -> list[dict[str, Answer]]:
        self.calls += 1
        return [{task: self._answer(task, text) for task in tasks or self.heads} for text in texts]

    def _answer(self, task: str, text: str) -> Answer:
        draw = np.random.default_rng([self._seed, zlib.crc32(f"{task} {text}".encode())])
        knows = draw.random() < self._skill
        labels, gold = self.heads[task].labels, self._gold[task].get(text)
        sureness = float(draw.uniform(0.6, 0.99) if knows else draw.uniform(0.35, 0.8))
        if self.heads[task].type == "slot_filling":
            spans = tuple(gold) if isinstance(gold, tuple) else ()
            kept = spans if knows else spans[1:]
            if not knows and draw.random() < 0.4:
                kept = (Span(0, 1, str(draw.choice(labels.labels))), *kept)
            return SlotsAnswer(kept, (sureness,) * len(kept))
        chosen = labels.index(str(gold)) if knows and gold in labels else int(draw.integers(len(labels)))
        rest = (1 - sureness) / max(len(labels) - 1, 1)
        probabilities = np.full(len(labels), rest, dtype=np.float32)
        probabilities[chosen] = sureness
        return ClassificationAnswer(labels.labels[chosen], sureness, probabilities)


def gold_of(datasets: Sequence[Dataset]) -> dict[str, dict[str, object]]:
    """Task to text to gold label, over the test splits."""
    gold: dict[str, dict[str, object]] = {}
    for dataset in datasets:
        for row in dataset.rows("test"):
            for task, label in row.labels.items():
                gold.setdefault(task, {})[row.text] = label
    return gold


def heads_of(job: JobSlice, datasets: Sequence[Dataset]) -> dict[str, TaskHead]:
    spaces: dict[str, LabelSpace] = {task: space for data in datasets for task, space in data.label_spaces.items()}
    return {task: TaskHead(task, spec.type, spaces[task]) for task, spec in job.tasks.items()}


def publish_job(
    job: JobSlice, *, datasets: Sequence[Dataset], root: str, folder: Path, skill: float, seed: int = 1
) -> str:
    """Publish the bundle of a Reciter where training would put it; the job's URI."""
    heads = heads_of(job, datasets)
    card = BundleCard(
        kind=job.model.kind,
        job=job,
        heads=head_cards(heads),
        temperatures=dict.fromkeys(heads, 1.0),
        rejection_thresholds={},
        training=TrainingRecord(seconds=12.5 * len(heads), epochs=2, parameters=1000 * len(heads)),
        versions={"python": "3.11", "taskmix": "0"},
    )
    folder.mkdir(parents=True)
    write_card(card, folder)
    (folder / SETTINGS).write_text(json.dumps({"skill": skill, "seed": seed}))
    uri = storage.join(root, "jobs", job.name, storage.fingerprint([skill, seed]))
    storage.publish(folder, storage.join(uri, "bundle"))
    return uri


def load_reciter(folder: Path, *, datasets: Sequence[Dataset]) -> Reciter:
    card = BundleCard.model_validate_json((folder / "bundle.json").read_bytes())
    settings = json.loads((folder / SETTINGS).read_text())
    return Reciter(card.task_heads, gold=gold_of(datasets), skill=settings["skill"], seed=settings["seed"])


def job_slices(plan: Plan) -> list[JobSlice]:
    return [plan.job_slice(job) for job in plan.jobs]
