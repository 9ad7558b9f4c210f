"""Decoders that are asked as they are: from datasets to a bundle, its evaluation and its answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

from taskmix import storage
from taskmix.config.plan import EvaluationSlice, JobSlice
from taskmix.evaluation.evaluate import evaluate
from taskmix.evaluation.scorecard import read_evaluation
from taskmix.modeling.answers import SlotsAnswer
from taskmix.modeling.bundle import read_card
from taskmix.modeling.prompts import read_prompts
from taskmix.modeling.system import load_system
from taskmix.training.job import finetune

SHORT = {"header": "{instruction}"}
TASKS = {
    "intent": {"type": "classification", "dataset": "words", "label": "intent", "prompt": SHORT},
    "slots": {"type": "slot_filling", "dataset": "words", "annotation": "slots", "prompt": SHORT},
}
ARCHITECTURE = {"layers": 1, "hidden": 16, "heads": 2, "feed_forward": 32, "vocabulary": 500}


def make_job(**model: Any) -> JobSlice:
    settings = {"kind": "decoder", "tuning": "none", "recipe": {"max_tokens": 300}, **model}
    return JobSlice.model_validate({"model_name": "asked", "seed": 3, "model": settings, "tasks": TASKS})


@pytest.fixture(scope="module")
def storage_root(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("storage"))


@pytest.fixture(scope="module")
def job_uri(dataset_uri: str, storage_root: str) -> str:
    return finetune(make_job(architecture=ARCHITECTURE, shots=2), datasets=[dataset_uri], storage=storage_root)


def test_a_bundle_holds_model_prompts_and_calibration(job_uri: str, dataset_uri: str, storage_root: str) -> None:
    bundle = Path(job_uri) / "bundle"
    card = read_card(bundle)
    assert card.kind == "decoder"
    assert card.training.epochs == 0
    assert card.training.parameters > 0
    assert set(card.temperatures) == {"intent", "slots"}
    assert set(card.rejection_thresholds) == {"intent"}
    assert [len(prompt.shots) for prompt in read_prompts(bundle).prompts] == [2, 2]
    again = finetune(make_job(architecture=ARCHITECTURE, shots=2), datasets=[dataset_uri], storage=storage_root)
    assert again == job_uri


def test_evaluation_and_prediction_take_the_bundle_as_any_other(job_uri: str, dataset_uri: str) -> None:
    how = EvaluationSlice.model_validate({"seed": 3, "evaluation": {"resamples": 100, "latency_texts": 3}})
    found = read_evaluation(evaluate(job_uri, slice=how, datasets=[dataset_uri]))
    assert found.scorecard.job.kind == "decoder"
    for task in ("intent", "slots"):
        assert found.scorecard.tasks[task].scores["invalid_rate"].value == 0
    texts = list(found.predictions["slots"].examples.texts[:5])
    answers = load_system(job_uri, device="cpu").predict(texts)
    for answer, label, spans in zip(
        answers, found.predictions["intent"].predicted, found.predictions["slots"].predicted, strict=False
    ):
        assert isinstance(answer["slots"], SlotsAnswer)
        assert answer["slots"].spans == spans
        assert answer["intent"].label == label  # type: ignore[union-attr]


def test_a_checkpoint_is_copied_whole_into_the_bundle(job_uri: str, dataset_uri: str, storage_root: str) -> None:
    checkpoint = Path(job_uri) / "bundle"
    uri = finetune(make_job(checkpoint=str(checkpoint)), datasets=[dataset_uri], storage=storage_root)
    copied = load_file(Path(uri) / "bundle" / "model.safetensors")
    original = load_file(checkpoint / "model.safetensors")
    assert {name: value.tobytes() for name, value in copied.items()} == {
        name: value.tobytes() for name, value in original.items()
    }
    assert storage.is_complete(storage.join(uri, "bundle"))
    assert read_prompts(Path(uri) / "bundle").prompts[0].shots == ()
