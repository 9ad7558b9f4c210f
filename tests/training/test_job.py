from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from taskmix import storage
from taskmix.config.plan import DatasetSlice, JobSlice
from taskmix.data.dataset import Dataset, load_dataset
from taskmix.data.ingest import ingest, source_version
from taskmix.errors import BundleError, TrainingError
from taskmix.modeling.bundle import load_model, read_card
from taskmix.training.checkpoints import checkpoint_names
from taskmix.training.job import finetune, job_fingerprint

MakeJob = Callable[..., JobSlice]


def weights_hash(job: str) -> str:
    return hashlib.sha256((Path(job) / "bundle" / "model.safetensors").read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def trained(dataset_uri: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A merged job trained without disturbance; the folder is shared, so tests only read it."""
    job = make_merged()
    return finetune(job, datasets=[dataset_uri], storage=str(tmp_path_factory.mktemp("undisturbed")))


def make_merged() -> JobSlice:
    from taskmix.config.plan import JobSlice as Slice

    architecture = {"layers": 2, "hidden": 32, "heads": 2, "feed_forward": 64, "vocabulary": 600}
    recipe = {"epochs": 3, "learning_rate": 1e-3, "tokens_per_batch": 256, "max_tokens": 48, "precision": "fp32"}
    model = {"kind": "encoder", "architecture": architecture, "recipe": {**recipe, "checkpoint_steps": 4}}
    tasks = {
        "intent": {"type": "classification", "dataset": "words", "label": "intent"},
        "slots": {"type": "slot_filling", "dataset": "words", "annotation": "slots"},
    }
    return Slice.model_validate({"model_name": "tiny", "seed": 3, "model": model, "tasks": tasks})


def test_merged_job_answers_every_task_from_its_bundle_alone(trained: str, dataset: Dataset) -> None:
    model = load_model(Path(trained) / "bundle")
    texts = [row.text for row in dataset.rows("test")[:5]] + ["", "zzz qqq"]
    answers = model.predict(texts)
    assert [list(answer) for answer in answers] == [["intent", "slots"]] * len(texts)
    assert all(answer["intent"].label in dataset.label_spaces["intent"] for answer in answers)


def test_bundle_tells_what_it_is_and_holds_nothing_pickled(trained: str) -> None:
    bundle = Path(trained) / "bundle"
    card = read_card(bundle)
    assert card.job.name == "tiny.intent+slots"
    assert set(card.heads) == {"intent", "slots"}
    assert [record.dev_scores.keys() for record in card.training.history] == [{"intent", "slots"}] * 3
    assert card.temperatures.keys() == {"intent", "slots"}
    assert {path.suffix for path in bundle.iterdir()} <= {".json", ".safetensors", ".txt", ".jinja"}


def test_checkpoints_are_gone_once_the_bundle_is_complete(trained: str) -> None:
    assert storage.is_complete(storage.join(trained, "bundle"))
    assert checkpoint_names(storage.join(trained, "checkpoints")) == []


def test_the_same_job_is_bit_for_bit_the_same_again(trained: str, dataset_uri: str, tmp_path: Path) -> None:
    again = finetune(make_merged(), datasets=[dataset_uri], storage=str(tmp_path))
    assert weights_hash(again) == weights_hash(trained)


def test_a_finished_job_is_reused_and_not_trained_again(trained: str, dataset_uri: str) -> None:
    before = (Path(trained) / "bundle" / "MANIFEST.json").stat().st_mtime_ns
    root = str(Path(trained).parents[2])
    assert finetune(make_merged(), datasets=[dataset_uri], storage=root) == trained
    assert (Path(trained) / "bundle" / "MANIFEST.json").stat().st_mtime_ns == before


def test_a_job_killed_in_mid_training_resumes_to_the_same_weights(
    trained: str, dataset_uri: str, tmp_path: Path, project_root: Path
) -> None:
    script = project_root / "tests" / "training" / "train_job.py"
    command = [sys.executable, str(script), make_merged().model_dump_json(), dataset_uri, str(tmp_path)]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    job = tmp_path / "jobs" / "tiny.intent+slots" / Path(trained).name
    victim = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while victim.poll() is None and not checkpoint_names(str(job / "checkpoints")):
            assert time.monotonic() < deadline, "no checkpoint within 120 s"
            time.sleep(0.02)
        victim.send_signal(signal.SIGKILL)
    finally:
        victim.kill()
        victim.wait()
    assert victim.returncode == -signal.SIGKILL
    assert not storage.is_complete(str(job / "bundle"))
    resumed = finetune(make_merged(), datasets=[dataset_uri], storage=str(tmp_path))
    assert resumed == str(job)
    assert weights_hash(resumed) == weights_hash(trained)


def test_single_task_job_goes_through_the_same_code(make_job: MakeJob, dataset_uri: str, tmp_path: Path) -> None:
    job = finetune(make_job(tasks=("slots",), epochs=1), datasets=[dataset_uri], storage=str(tmp_path))
    assert list(load_model(Path(job) / "bundle").heads) == ["slots"]


def test_what_decides_the_result_changes_the_fingerprint(make_job: MakeJob, dataset: Dataset) -> None:
    data = {"words": dataset}
    base = job_fingerprint(make_job(), datasets=data)
    assert job_fingerprint(make_job(), datasets=data) == base
    assert job_fingerprint(make_job(seed=4), datasets=data) != base
    assert job_fingerprint(make_job(learning_rate=2e-3), datasets=data) != base
    assert job_fingerprint(make_job(tasks=("intent",)), datasets=data) != base


def test_another_task_on_the_dataset_retrains_nothing(make_job: MakeJob, dataset: Dataset, tmp_path: Path) -> None:
    tasks = {
        "intent": {"type": "classification", "dataset": "words", "label": "intent"},
        "slots": {"type": "slot_filling", "dataset": "words", "annotation": "slots"},
        "topic": {"type": "classification", "dataset": "words", "label": "topic"},
    }
    source = {"format": "generated", "train": 240, "dev": 60, "test": 60}
    part = DatasetSlice.model_validate({"name": "words", "seed": 3, "dataset": source, "tasks": tasks})
    wider = load_dataset(Path(ingest(part, storage=str(tmp_path), version=source_version(part))))
    job = make_job()
    assert job_fingerprint(job, datasets={"words": wider}) == job_fingerprint(job, datasets={"words": dataset})


def test_a_job_without_its_dataset_says_what_is_missing(make_job: MakeJob, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"task 'intent' is asked of dataset 'words'.*ingest it"):
        finetune(make_job(), datasets=[], storage=str(tmp_path))


def test_a_loss_that_explodes_ends_training_with_the_remedy(
    make_job: MakeJob, dataset_uri: str, tmp_path: Path
) -> None:
    job = make_job(learning_rate=1e30, epochs=2, warmup_fraction=0.0)
    with pytest.raises(TrainingError, match=r"loss is not finite.*lower recipe\.learning_rate"):
        finetune(job, datasets=[dataset_uri], storage=str(tmp_path))


def test_a_checkpoint_that_is_nowhere_is_told(make_job: MakeJob, dataset_uri: str, tmp_path: Path) -> None:
    job = make_job()
    model = {"kind": "encoder", "checkpoint": str(tmp_path / "absent" / "model" / "x"), "recipe": {"epochs": 1}}
    nowhere = JobSlice.model_validate({**job.model_dump(), "model": model})
    with pytest.raises(BundleError, match=r"is no folder here and cannot be fetched"):
        finetune(nowhere, datasets=[dataset_uri], storage=str(tmp_path))
