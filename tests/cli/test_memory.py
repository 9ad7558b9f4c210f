"""`taskmix plan` on decoders: what they take of their GPUs, and a refusal of what cannot fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from taskmix.cli.app import make_app
from taskmix.errors import ConfigError

CONFIG: dict[str, Any] = {
    "name": "large",
    "datasets": {"words": {"format": "generated"}},
    "tasks": {"intent": {"type": "classification", "dataset": "words", "label": "intent"}},
    "models": {
        "llama": {
            "kind": "decoder",
            "hardware": "small",
            "recipe": {"max_tokens": 512},
        }
    },
    "hardware": {"small": {"gpus": 1, "gpu_memory_gib": 24}},
}


@pytest.mark.parametrize(
    ("checkpoint", "shown"),
    [
        ("s3://models/llama-3-70b", "s3://models/llama-3-70b "),
        (f"meta-llama/Meta-Llama-3-70B@{'0123456789' * 4}", "meta-llama/Meta-Llama-3-70B@012345678901 "),
    ],
)
def test_70_billion_weights_on_one_small_gpu_are_refused_with_what_would_fit(
    checkpoint: str, shown: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checkpoint cannot be reached, so its shape is that published of its name."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    path = tmp_path / "large.yaml"
    models = {"llama": {**CONFIG["models"]["llama"], "checkpoint": checkpoint}}
    fields = {**CONFIG, "models": models, "storage": str(tmp_path / "runs")}
    path.write_text(yaml.safe_dump(fields), encoding="utf-8")
    with pytest.raises(ConfigError) as refused:
        make_app()(["plan", str(path)], standalone_mode=False)
    (problem,) = refused.value.problems
    assert "models.llama.hardware: 'small' has 1 GPU of 24 GiB, but training 70.6 billion weights takes" in problem
    assert "what fits:" in problem
    assert "gpus 128" in problem
    told = capsys.readouterr().out
    assert "its published shape" in told
    assert shown in told
