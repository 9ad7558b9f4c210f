"""Small sources of every kind, written by the tests themselves."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from taskmix.config.plan import DatasetSlice
from taskmix.data.dataset import Dataset, load_dataset
from taskmix.data.ingest import ingest, source_version

Tasks = Mapping[str, Mapping[str, Any]]
INTENT: Tasks = {"intent": {"type": "classification", "label": "intent"}}
SLOTS: Tasks = {"slots": {"type": "slot_filling", "annotation": "spans"}}


@pytest.fixture
def make_slice() -> Callable[..., DatasetSlice]:
    """A slice from the sections of a configuration file."""

    def make(dataset: Mapping[str, Any], tasks: Tasks = INTENT, *, seed: int = 13) -> DatasetSlice:
        named = {task: {**spec, "dataset": "tickets"} for task, spec in tasks.items()}
        return DatasetSlice.model_validate({"name": "tickets", "seed": seed, "dataset": dict(dataset), "tasks": named})

    return make


@pytest.fixture
def load(tmp_path: Path, make_slice: Callable[..., DatasetSlice]) -> Callable[..., Dataset]:
    """Ingest a dataset into a folder store and load what was published."""

    def run(dataset: Mapping[str, Any], tasks: Tasks = INTENT, *, seed: int = 13) -> Dataset:
        slice = make_slice(dataset, tasks, seed=seed)
        return load_dataset(Path(ingest(slice, storage=str(tmp_path / "store"), version=source_version(slice))))

    return run


@pytest.fixture
def write_jsonl(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Write a jsonl file a split; returns the dataset's section."""

    def write(**splits: Sequence[Any]) -> dict[str, Any]:
        for split, rows in splits.items():
            lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
            (tmp_path / f"{split}.jsonl").write_bytes(b"\n".join(lines))
        return {"format": "jsonl", "uri": f"{tmp_path}/{{split}}.jsonl", "text": "text"}

    return write


@pytest.fixture
def write_tar(tmp_path: Path) -> Callable[..., str]:
    """Write a tar.gz of the given members; returns its path."""

    def write(members: Mapping[str, bytes], *, name: str = "archive.tar.gz") -> str:
        path = tmp_path / name
        with tarfile.open(path, "w:gz") as archive:
            for member, content in members.items():
                info = tarfile.TarInfo(member)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        return str(path)

    return write


def rows_of(count: int, *, start: int = 0, labels: Sequence[str] = ("buy", "sell")) -> list[dict[str, Any]]:
    """So many rows with different texts, their labels in turn."""
    return [{"text": f"text number {n}", "intent": labels[n % len(labels)]} for n in range(start, start + count)]


@pytest.fixture
def make_rows() -> Callable[..., list[dict[str, Any]]]:
    return rows_of
