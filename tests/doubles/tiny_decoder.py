"""A tiny decoder's job for tests of how processes train together, and how what was learnt is compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from taskmix.config.plan import JobSlice

INTENT = {"type": "classification", "dataset": "words", "label": "intent", "prompt": {"header": "intent"}}
RECIPE = {"epochs": 1, "learning_rate": 1e-3, "tokens_per_batch": 4096, "max_tokens": 64, "precision": "fp32"}
ARCHITECTURE = {"layers": 2, "hidden": 32, "heads": 2, "feed_forward": 64, "vocabulary": 500}


def decoder_job(**recipe: Any) -> JobSlice:
    """The job, with this in its recipe."""
    model = {"kind": "decoder", "architecture": ARCHITECTURE, "recipe": {**RECIPE, **recipe}}
    model |= {"label_decoding": "greedy"}
    return JobSlice.model_validate({"model_name": "llama", "seed": 3, "model": model, "tasks": {"intent": INTENT}})


def weights(job: str) -> dict[str, torch.Tensor]:
    """What the job at a URI has learnt."""
    return load_file(Path(job) / "bundle" / "model.safetensors")


def near(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Whether two runs that differ in the packing of their batches only learnt the same, to Adam's first steps."""
    return one.keys() == other.keys() and all(torch.allclose(one[name], other[name], atol=5e-3) for name in one)
