"""From the best checkpoint to a bundle's weights: whole, LoRA merged in, and proven to be what was trained.

Under ZeRO-3 every process holds a part of every weight, and a placeholder of shape (0,) stands where a weight was. A
file of placeholders loads, serves and answers nonsense. So the written files are read back and compared with the model:
every tensor there, of its shape, nothing empty; and one forward pass must come out as the training model's did.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from taskmix.errors import TrainingError
from taskmix.training.packing import PromptedAnswer, answer_logits, collate_packed

logger = logging.getLogger(__name__)

SHARD_SIZE = "5GB"
"""Of one safetensors file (transformers' own default)."""
PROBE_TOKENS = 512
"""Of the forward pass that is compared: enough to pass through every weight. Arbitrary."""
TOLERANCES = {torch.float32: 1e-4, torch.bfloat16: 5e-2}
"""Largest difference of a logit, as a share of the largest: other kernels, and for bf16 its 8 bits of mantissa."""


def probe_row(examples: list[PromptedAnswer]) -> dict[str, Any]:
    """A packed row of the first examples, at least one."""
    taken, tokens = examples[:1], len(examples[0])
    for example in examples[1:]:
        tokens += len(example)
        if tokens > PROBE_TOKENS:
            break
        taken.append(example)
    return collate_packed(taken, [1.0] * len(taken))


@torch.no_grad()
def probe_logits(model: Any, row: dict[str, Any], *, device: torch.device) -> Tensor:
    """What the model makes of the probe, (answer tokens, vocabulary) on the CPU in fp32.

    Under ZeRO-3 every process must call this at the same time.
    """
    was_training = model.training
    model.eval()
    placed = {name: part.to(device) if isinstance(part, Tensor) else part for name, part in row.items()}
    logits = answer_logits(model, placed).float().cpu()
    model.train(was_training)
    return logits


def write_weights(module: Any, folder: Path) -> None:
    """Write a whole model's weights and configuration, safetensors of at most `SHARD_SIZE` each."""
    module.config.use_cache = True
    module.save_pretrained(folder, max_shard_size=SHARD_SIZE)


def verify_weights(folder: Path, *, row: dict[str, Any], expected_NV: Tensor, bf16: bool = False) -> Any:
    """The model as loaded back from `folder`, on the CPU, proven to be the one that was trained.

    Args:
        folder: with weights and configuration.
        row: the probe.
        expected_NV: what the training model made of it.
        bf16: it multiplied in bf16, whatever its weights are kept in.

    Raises:
        TrainingError: a tensor is missing, left over, empty or of another shape, or the forward pass differs.
    """
    from taskmix.training.decoder_build import load_decoder_weights

    written = written_shapes(folder)
    check_shapes(folder, written=written)
    dtype = torch.bfloat16 if "BF16" in {kind for _, kind in written.values()} else torch.float32
    module = load_decoder_weights(folder, dtype=dtype)
    logits_NV = probe_logits(module, row, device=torch.device("cpu"))
    difference = float((logits_NV - expected_NV).abs().max() / expected_NV.abs().max().clamp(min=1e-9))
    tolerance = TOLERANCES[torch.bfloat16 if bf16 else dtype]
    if not difference <= tolerance:
        raise TrainingError(
            f"{folder}: the weights written are not those trained: a forward pass differs by {difference:.2e} of the "
            f"largest logit, at most {tolerance:.0e} is rounding; train again from the last checkpoint, and "
            "report this with the recipe"
        )
    logger.info("verified tensors=%d difference=%.1e", len(written), difference)
    return module


def written_shapes(folder: Path) -> dict[str, tuple[tuple[int, ...], str]]:
    """Name of every tensor in the safetensors of `folder`, to its shape and its type in safetensors' words."""
    shapes: dict[str, tuple[tuple[int, ...], str]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 (a safetensors file is no mapping)
                part = file.get_slice(name)
                shapes[name] = (tuple(part.get_shape()), part.get_dtype())
    return shapes


def check_shapes(folder: Path, *, written: dict[str, tuple[tuple[int, ...], str]]) -> None:
    """Compare what was written with the model that `config.json` describes.

    Raises:
        TrainingError: a tensor is missing, left over, empty or of another shape.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))
    expected = {name: tuple(weight.shape) for name, weight in model.state_dict().items()}
    tied = set(getattr(model, "all_tied_weights_keys", None) or {})
    faults = [f"{name} is missing" for name in expected if name not in written and name not in tied]
    faults += [f"{name} is no weight of the model" for name in written if name not in expected]
    for name, (shape, _) in written.items():
        if 0 in shape:
            faults.append(f"{name} is empty")
        elif name in expected and shape != expected[name]:
            faults.append(f"{name} has shape {shape}, not {expected[name]}")
    if faults:
        more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise TrainingError(
            f"{folder}: the weights written are not whole: {'; '.join(faults[:3])}{more}; "
            "train again from the last checkpoint, and report this with the recipe"
        )
