"""The launcher: the error of a worker is told as one (that its workers die with it is tested in `test_zero`)."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_decoder import decoder_job

from taskmix.errors import TrainingError
from taskmix.training.job import finetune


def test_the_error_of_a_process_comes_out_as_one(dataset_uri: str, tmp_path: Path) -> None:
    job = decoder_job(deepspeed="zero2", max_tokens=16)
    with pytest.raises(TrainingError, match=r"^process \d of 2: recipe\.max_tokens is 16, but the prompt of intent"):
        finetune(job, datasets=[dataset_uri], storage=str(tmp_path), processes=2)
