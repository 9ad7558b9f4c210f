"""A small generated dataset, ingested once, and the slices of jobs on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_decoder import decoder_job, weights

from taskmix.config.plan import DatasetSlice, JobSlice
from taskmix.data.dataset import Dataset, load_dataset
from taskmix.data.ingest import ingest, source_version
from taskmix.training.job import finetune

TASKS = {
    "intent": {"type": "classification", "dataset": "words", "label": "intent"},
    "slots": {"type": "slot_filling", "dataset": "words", "annotation": "slots"},
}
RECIPE = {"epochs": 2, "learning_rate": 1e-3, "tokens_per_batch": 256, "max_tokens": 48, "precision": "fp32"}


@pytest.fixture(scope="session")
def dataset_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    dataset = {"format": "generated", "train": 240, "dev": 60, "test": 60}
    part = DatasetSlice.model_validate({"name": "words", "seed": 3, "dataset": dataset, "tasks": TASKS})
    return ingest(part, storage=str(tmp_path_factory.mktemp("storage")), version=source_version(part))


@pytest.fixture(scope="session")
def dataset(dataset_uri: str) -> Dataset:
    return load_dataset(Path(dataset_uri))


@pytest.fixture(scope="session")
def learned_alone(dataset_uri: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    """What one process without DeepSpeed makes of the tiny decoder: the reference of several."""
    return weights(finetune(decoder_job(), datasets=[dataset_uri], storage=str(tmp_path_factory.mktemp("alone"))))


@pytest.fixture
def make_job() -> Callable[..., JobSlice]:
    """A tiny encoder's job: `make_job(tasks=["intent"], seed=3, epochs=4)`."""

    def make(*, tasks: tuple[str, ...] = ("intent", "slots"), seed: int = 3, **recipe: Any) -> JobSlice:
        architecture = {"layers": 2, "hidden": 32, "heads": 2, "feed_forward": 64, "vocabulary": 600}
        model = {"kind": "encoder", "architecture": architecture, "recipe": {**RECIPE, **recipe}}
        chosen = {task: TASKS[task] for task in tasks}
        return JobSlice.model_validate({"model_name": "tiny", "seed": seed, "model": model, "tasks": chosen})

    return make
