"""A tiny Llama from random weights, fine-tuned in one process: whole, with LoRA, over several passes a step."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from taskmix import storage
from taskmix.config.plan import JobSlice
from taskmix.data.dataset import Dataset
from taskmix.data.schema import split_words
from taskmix.errors import TrainingError
from taskmix.modeling.bundle import load_model, read_card
from taskmix.modeling.prompts import read_prompts
from taskmix.training.consolidation import check_shapes, verify_weights, written_shapes
from taskmix.training.job import finetune
from taskmix.training.loop import use_bf16

TASKS = {
    "intent": {"type": "classification", "dataset": "words", "label": "intent", "prompt": {"header": "intent"}},
    "slots": {"type": "slot_filling", "dataset": "words", "annotation": "slots", "prompt": {"header": "slots"}},
}
ARCHITECTURE = {"layers": 2, "hidden": 32, "heads": 2, "feed_forward": 64, "vocabulary": 600}
RECIPE = {"epochs": 2, "learning_rate": 3e-3, "tokens_per_batch": 2048, "max_tokens": 96, "precision": "fp32"}


def make_job(*, tasks: tuple[str, ...] = ("intent", "slots"), tuning: str = "full", **recipe: Any) -> JobSlice:
    model = {"kind": "decoder", "architecture": ARCHITECTURE, "tuning": tuning, "recipe": {**RECIPE, **recipe}}
    chosen = {task: TASKS[task] for task in tasks}
    return JobSlice.model_validate({"model_name": "llama", "seed": 3, "model": model, "tasks": chosen})


def weights(job: str) -> dict[str, torch.Tensor]:
    return load_file(Path(job) / "bundle" / "model.safetensors")


@pytest.fixture(scope="module")
def trained(dataset_uri: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A merged decoder; tests only read it."""
    return finetune(make_job(), datasets=[dataset_uri], storage=str(tmp_path_factory.mktemp("decoder")))


def test_a_merged_decoder_learns_and_its_bundle_tells_how(trained: str) -> None:
    card = read_card(Path(trained) / "bundle")
    first, last = card.training.history
    assert card.kind == "decoder"
    assert last.dev_scores.keys() == {"intent", "slots"}
    assert last.loss is not None
    assert first.loss is not None
    assert last.loss < first.loss
    assert card.temperatures.keys() == {"intent", "slots"}
    assert card.training.tokens_per_s is not None
    assert [prompt.tasks for prompt in read_prompts(Path(trained) / "bundle").prompts] == [("intent",), ("slots",)]
    assert {path.suffix for path in (Path(trained) / "bundle").iterdir()} <= {".json", ".safetensors", ".jinja"}
    assert storage.is_complete(storage.join(trained, "bundle"))


def test_it_answers_from_its_bundle_alone(trained: str, dataset: Dataset) -> None:
    answers = load_model(Path(trained) / "bundle").predict([row.text for row in dataset.rows("test")[:3]])
    assert all(answer["intent"].label in dataset.label_spaces["intent"] for answer in answers)


def test_several_passes_a_step_come_to_the_weights_of_one(trained: str, dataset_uri: str, tmp_path: Path) -> None:
    """The packs of a step differ, its examples mostly not; so weights are near, not equal."""
    job = finetune(make_job(tokens_per_forward=512, epochs=1), datasets=[dataset_uri], storage=str(tmp_path))
    history = read_card(Path(job) / "bundle").training.history
    whole = read_card(Path(trained) / "bundle").training.history
    assert history[0].loss == pytest.approx(whole[0].loss, rel=0.1)


def test_lora_is_merged_into_the_weights_that_it_adapts(dataset_uri: str, tmp_path: Path) -> None:
    job = make_job(tasks=("intent",), tuning="lora", epochs=2, gradient_checkpointing=True)
    trained = finetune(job, datasets=[dataset_uri], storage=str(tmp_path))
    names = written_shapes(Path(trained) / "bundle")
    assert not [name for name in names if "lora" in name]
    history = read_card(Path(trained) / "bundle").training.history
    assert history[-1].loss < history[0].loss


@pytest.fixture
def told_by_transformers() -> Iterator[list[str]]:
    """What transformers logs from WARNING up."""
    told: list[str] = []
    listener = logging.Handler(logging.WARNING)
    listener.emit = lambda record: told.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("transformers").addHandler(listener)
    yield told
    logging.getLogger("transformers").removeHandler(listener)


@pytest.mark.skipif(not use_bf16("auto"), reason="this processor does not multiply bf16")
@pytest.mark.parametrize(("tuning", "kept_in"), [("full", "F32"), ("lora", "BF16")])
def test_a_decoder_learns_in_bf16_and_keeps_the_weights_that_it_learnt(
    tuning: str, kept_in: str, dataset: Dataset, dataset_uri: str, tmp_path: Path, told_by_transformers: list[str]
) -> None:
    """Weights that learn stay fp32, since bf16 would round their updates away; LoRA's base never changes."""
    job = finetune(make_job(tuning=tuning, precision="bf16"), datasets=[dataset_uri], storage=str(tmp_path))
    bundle = Path(job) / "bundle"
    training = read_card(bundle).training
    first, last = training.history
    assert training.precision == "bf16"
    assert last.loss < first.loss  # type: ignore[operator]
    assert {kind for _, kind in written_shapes(bundle).values()} == {kept_in}
    assert not [line for line in told_by_transformers if "missing keys" in line]
    model = load_model(bundle)
    rows = dataset.rows("test")[:8]
    for row, answer in zip(rows, model.predict([row.text for row in rows]), strict=True):
        assert answer["intent"].label in dataset.label_spaces["intent"]
        assert 0 < answer["intent"].probability <= 1
        assert all(0 <= span.start < span.end <= len(split_words(row.text)) for span in answer["slots"].spans)


def damage(job: str, folder: Path, change: Any) -> Path:
    """A copy of a bundle's weights with something changed."""
    tensors = weights(job)
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_bytes((Path(job) / "bundle" / "config.json").read_bytes())
    return folder


NORM = "model.layers.1.input_layernorm.weight"


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda tensors: tensors.pop(NORM), "is missing"),
        (lambda tensors: tensors.update({NORM: torch.empty(0)}), "is empty"),
        (lambda tensors: tensors.update({NORM: torch.ones(3)}), r"has shape \(3,\), not \(32,\)"),
        (lambda tensors: tensors.update({"stray": torch.ones(3)}), "stray is no weight of the model"),
    ],
)
def test_weights_that_are_not_whole_make_no_bundle(trained: str, tmp_path: Path, change: Any, fault: str) -> None:
    folder = damage(trained, tmp_path, change)
    with pytest.raises(TrainingError, match=f"are not whole: .*{fault}"):
        check_shapes(folder, written=written_shapes(folder))


def test_weights_of_the_right_shapes_that_compute_something_else_make_no_bundle(trained: str, tmp_path: Path) -> None:
    import numpy as np

    from taskmix.training.consolidation import probe_logits, probe_row
    from taskmix.training.decoder_build import load_decoder_weights
    from taskmix.training.packing import PromptedAnswer

    row = probe_row([PromptedAnswer(np.arange(5, 20, dtype=np.int32), np.arange(3, dtype=np.int32))])
    whole = load_decoder_weights(Path(trained) / "bundle", dtype=torch.float32)
    expected = probe_logits(whole, row, device=torch.device("cpu"))
    verify_weights(Path(trained) / "bundle", row=row, expected_NV=expected)
    rounded = expected + 5e-3 * expected.abs().max()
    verify_weights(Path(trained) / "bundle", row=row, expected_NV=rounded, bf16=True)
    with pytest.raises(TrainingError, match=r"at most 1e-04 is rounding"):
        verify_weights(Path(trained) / "bundle", row=row, expected_NV=rounded)
    folder = damage(trained, tmp_path, lambda tensors: tensors.update({NORM: torch.zeros(32)}))
    with pytest.raises(TrainingError, match=r"are not those trained: a forward pass differs by"):
        verify_weights(folder, row=row, expected_NV=expected)
