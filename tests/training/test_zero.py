"""The real DeepSpeed path without a GPU: two processes by torchrun on gloo, each ZeRO stage, written weights proven."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from tiny_decoder import decoder_job, furthest, weights

from taskmix.modeling.bundle import read_card
from taskmix.training.checkpoints import STATE_FILE, checkpoint_names
from taskmix.training.job import finetune

ZERO3 = {"deepspeed": "zero3", "offload": True, "checkpoint_steps": 2}
ROUNDING = 1e-5
"""Largest difference of a weight, for sums in another order: 4e-7 was measured. Training moves weights by 6e-3."""


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """As in the image for training: no program is found, a compiler least of all, and nothing was compiled before.

    Returns:
        The folder in which torch puts what it compiles.
    """
    folder = tmp_path_factory.mktemp("image")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(folder / "no-programs"))
        patch.setenv("TORCH_EXTENSIONS_DIR", str(folder / "compiled"))
        for name in ("CC", "CXX", "CUDA_HOME"):
            patch.delenv(name, raising=False)
        yield folder / "compiled"


@pytest.fixture(scope="module")
def undisturbed(dataset_uri: str, compiled: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A job trained by two processes with ZeRO-3 and offloading."""
    storage = str(tmp_path_factory.mktemp("undisturbed"))
    return finetune(decoder_job(**ZERO3), datasets=[dataset_uri], storage=storage, processes=2)


def assert_learned_the_same(job: str, learned_alone: dict[str, torch.Tensor], *, compiled: Path) -> None:
    assert furthest(weights(job), learned_alone) < ROUNDING
    assert read_card(Path(job) / "bundle").temperatures.keys() == {"intent"}
    assert not compiled.exists() or not list(compiled.iterdir())


@pytest.mark.parametrize(
    "recipe",
    [
        pytest.param({"deepspeed": "zero1"}, id="zero1"),
        pytest.param({"deepspeed": "zero2", "offload": True}, id="zero2-offload"),
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
    assert_learned_the_same(job, learned_alone, compiled=compiled)


def test_two_processes_with_a_part_of_every_weight_each_learn_what_one_learns(
    undisturbed: str, learned_alone: dict[str, torch.Tensor], compiled: Path
) -> None:
    assert_learned_the_same(undisturbed, learned_alone, compiled=compiled)


def test_zero3_killed_in_mid_training_resumes_to_the_same_weights_bit_for_bit(
    undisturbed: str, dataset_uri: str, tmp_path: Path
) -> None:
    """The launcher is killed without a word: its workers die with it, and the next run goes on from the checkpoint."""
    job = decoder_job(**ZERO3)
    command = [sys.executable, "-m", "taskmix.training.launch", "--processes", "2", "--dataset", dataset_uri]
    command += ["--slice", job.model_dump_json(), "--storage", str(tmp_path)]
    victim = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ)
    uri = tmp_path / "jobs" / "llama.intent" / Path(undisturbed).name
    checkpoints = uri / "checkpoints"
    deadline = time.monotonic() + 300
    while not checkpoint_names(str(checkpoints)):
        assert victim.poll() is None, "training ended before it could be killed"
        assert time.monotonic() < deadline, "no checkpoint within 300 s"
        time.sleep(0.02)
    children = psutil.Process(victim.pid).children(recursive=True)
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    _, alive = psutil.wait_procs(children, timeout=60)
    assert not alive
    state = json.loads((checkpoints / checkpoint_names(str(checkpoints))[-1] / STATE_FILE).read_text())
    assert state["global_step"] < state["max_steps"], "it was killed after its last step"
    assert finetune(job, datasets=[dataset_uri], storage=str(tmp_path), processes=2) == str(uri)
    assert furthest(weights(str(uri)), weights(undisturbed)) == 0
