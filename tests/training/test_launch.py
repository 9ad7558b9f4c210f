"""The launcher: killed, its workers die with it and the next run resumes; the error of a worker is told as one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from tiny_decoder import decoder_job, near, weights

from taskmix.errors import TrainingError
from taskmix.training.checkpoints import checkpoint_names
from taskmix.training.job import finetune


def test_zero3_killed_in_mid_training_resumes_and_ends_with_whole_weights(
    learned_alone: dict[str, torch.Tensor], dataset_uri: str, tmp_path: Path
) -> None:
    """The launcher is killed without a word: its workers die with it, and the next run goes on from the checkpoint."""
    job = decoder_job(deepspeed="zero3", offload=True, checkpoint_steps=2)
    command = [sys.executable, "-m", "taskmix.training.launch", "--processes", "2", "--dataset", dataset_uri]
    command += ["--slice", job.model_dump_json(), "--storage", str(tmp_path)]
    victim = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ)
    folders = tmp_path / "jobs" / "llama.intent"
    deadline = time.monotonic() + 300
    while not (found := [uri for uri in folders.glob("*/checkpoints") if checkpoint_names(str(uri))]):
        assert victim.poll() is None, "training ended before it could be killed"
        assert time.monotonic() < deadline, "no checkpoint within 300 s"
        time.sleep(0.1)
    children = psutil.Process(victim.pid).children(recursive=True)
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    _, alive = psutil.wait_procs(children, timeout=60)
    assert not alive
    assert checkpoint_names(str(found[0]))
    resumed = finetune(job, datasets=[dataset_uri], storage=str(tmp_path), processes=2)
    assert near(weights(resumed), learned_alone)


def test_the_error_of_a_process_comes_out_as_one(dataset_uri: str, tmp_path: Path) -> None:
    job = decoder_job(deepspeed="zero2", max_tokens=16)
    with pytest.raises(TrainingError, match=r"^process \d of 2: recipe\.max_tokens is 16, but the prompt of intent"):
        finetune(job, datasets=[dataset_uri], storage=str(tmp_path), processes=2)
