"""A tiny decoder's job for tests of how processes train together, and how what was learnt is compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from taskmix.config.plan import JobSlice

INTENT = {"type": "classification", "dataset": "words", "label": "intent", "prompt": {"header": "intent"}}
RECIPE = {
    "epochs": 1,
    "learning_rate": 1e-3,
    "tokens_per_batch": 1024,
    "tokens_per_forward": 256,
    "max_tokens": 64,
    "precision": "fp32",
}
"""A step is four packs: of one process, or two of each of two. So they learn from the same packs in the same steps."""
ARCHITECTURE = {"layers": 2, "hidden": 32, "heads": 2, "feed_forward": 64, "vocabulary": 500}


def decoder_job(**recipe: Any) -> JobSlice:
    """The job, with this in its recipe."""
    model = {"kind": "decoder", "architecture": ARCHITECTURE, "recipe": {**RECIPE, **recipe}}
    model |= {"label_decoding": "greedy"}
    return JobSlice.model_validate({"model_name": "llama", "seed": 3, "model": model, "tasks": {"intent": INTENT}})


def weights(job: str) -> dict[str, torch.Tensor]:
    """What the job at a URI has learnt."""
    return load_file(Path(job) / "bundle" / "model.safetensors")


def furthest(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """The largest difference of a weight between what two jobs have learnt."""
    assert one.keys() == other.keys()
    return max(float((one[name] - other[name]).abs().max()) for name in one)
