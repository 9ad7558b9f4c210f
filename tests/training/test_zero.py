"""The real DeepSpeed path without a GPU: two processes by torchrun on gloo, each ZeRO stage, written weights proven."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from taskmix.config.plan import JobSlice
from taskmix.modeling.bundle import read_card
from taskmix.training.job import finetune

INTENT = {"type": "classification", "dataset": "words", "label": "intent", "prompt": {"header": "intent"}}
RECIPE = {"epochs": 1, "learning_rate": 1e-3, "tokens_per_batch": 4096, "max_tokens": 64, "precision": "fp32"}
ARCHITECTURE = {"layers": 2, "hidden": 32, "heads": 2, "feed_forward": 64, "vocabulary": 500}


def make_job(**recipe: Any) -> JobSlice:
    model = {"kind": "decoder", "architecture": ARCHITECTURE, "recipe": {**RECIPE, **recipe}}
    model |= {"label_decoding": "greedy"}
    return JobSlice.model_validate({"model_name": "llama", "seed": 3, "model": model, "tasks": {"intent": INTENT}})


def weights(job: str) -> dict[str, torch.Tensor]:
    return load_file(Path(job) / "bundle" / "model.safetensors")


@pytest.fixture(scope="module")
def one_process(dataset_uri: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    """What one process without DeepSpeed comes to: the reference of all."""
    return weights(finetune(make_job(), datasets=[dataset_uri], storage=str(tmp_path_factory.mktemp("one"))))


def near(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Whether two runs that differ in the packing of their batches only learnt the same, to Adam's first steps."""
    return one.keys() == other.keys() and all(torch.allclose(one[name], other[name], atol=5e-3) for name in one)


@pytest.mark.parametrize(
    "recipe",
    [
        pytest.param({"deepspeed": "zero1"}, id="zero1"),
        pytest.param({"deepspeed": "zero2", "offload": True, "tokens_per_forward": 1024}, id="zero2-offload-passes"),
        pytest.param({"deepspeed": "zero3", "offload": True, "checkpoint_steps": 2}, id="zero3-offload"),
    ],
)
def test_two_processes_with_zero_learn_what_one_learns(
    recipe: dict[str, Any], one_process: dict[str, torch.Tensor], dataset_uri: str, tmp_path: Path
) -> None:
    job = finetune(make_job(**recipe), datasets=[dataset_uri], storage=str(tmp_path), processes=2)
    assert near(weights(job), one_process)
    assert read_card(Path(job) / "bundle").temperatures.keys() == {"intent"}
