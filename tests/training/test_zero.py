"""The real DeepSpeed path without a GPU: two processes by torchrun on gloo, each ZeRO stage, written weights proven."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_decoder import decoder_job, near, weights

from taskmix.modeling.bundle import read_card
from taskmix.training.job import finetune


@pytest.fixture
def compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As in the image for training: no program is found, a compiler least of all, and nothing was compiled before.

    Returns:
        The folder in which torch puts what it compiles.
    """
    folder = tmp_path / "compiled"
    monkeypatch.setenv("PATH", str(tmp_path / "no-programs"))
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(folder))
    for name in ("CC", "CXX", "CUDA_HOME"):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.mark.parametrize(
    "recipe",
    [
        pytest.param({"deepspeed": "zero1"}, id="zero1"),
        pytest.param({"deepspeed": "zero2", "offload": True, "tokens_per_forward": 1024}, id="zero2-offload-passes"),
        pytest.param({"deepspeed": "zero3", "offload": True, "checkpoint_steps": 2}, id="zero3-offload"),
    ],
)
def test_two_processes_with_zero_learn_what_one_learns(
    recipe: dict[str, Any],
    learned_alone: dict[str, torch.Tensor],
    dataset_uri: str,
    compiled: Path,
    tmp_path: Path,
) -> None:
    job = finetune(decoder_job(**recipe), datasets=[dataset_uri], storage=str(tmp_path), processes=2)
    assert near(weights(job), learned_alone)
    assert read_card(Path(job) / "bundle").temperatures.keys() == {"intent"}
    assert not compiled.exists() or not list(compiled.iterdir())
