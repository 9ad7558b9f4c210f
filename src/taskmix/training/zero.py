"""DeepSpeed's ZeRO: its configuration from a recipe, made here and nowhere else, and its checkpoints held to our rules.

The optimizer is torch's AdamW, on the host too: DeepSpeed's own would be compiled at first use (minutes, a compiler in
the image), and torch's fused one is vectorized likewise.
"""

from __future__ import annotations

import copyreg
import os
import warnings
from typing import Any

import torch

from taskmix.config.schema import DecoderRecipe

STAGES = {"zero1": 1, "zero2": 2, "zero3": 3}


def zero_config(recipe: DecoderRecipe, *, bf16: bool, passes: int) -> dict[str, Any]:
    """DeepSpeed's configuration (https://www.deepspeed.ai/docs/config-json/).

    Args:
        recipe: stage, offload, clipping; `deepspeed` is set.
        bf16: weights and gradients in bf16, with fp32 masters that DeepSpeed keeps; else all in fp32.
        passes: forward passes of a process in one optimizer step.
    """
    assert recipe.deepspeed is not None
    stage = STAGES[recipe.deepspeed]
    zero: dict[str, Any] = {"stage": stage, "contiguous_gradients": True, "overlap_comm": torch.cuda.is_available()}
    if recipe.offload:
        pinned = {"device": "cpu", "pin_memory": torch.cuda.is_available()}
        zero["offload_optimizer"] = dict(pinned)
        if stage == 3:
            zero["offload_param"] = dict(pinned)
    if stage == 3:
        zero["stage3_gather_16bit_weights_on_model_save"] = True
    return {
        "zero_optimization": zero,
        "bf16": {"enabled": bf16},
        "gradient_clipping": recipe.clip_norm,
        "gradient_accumulation_steps": passes,
        "train_micro_batch_size_per_gpu": 1,  # rows: a packed batch is one
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 1 << 30,
        "wall_clock_breakdown": False,
    }


def connect() -> None:
    """Connect the processes for DeepSpeed, and hold its checkpoints to what cannot run code.

    DeepSpeed reads its checkpoints with an unpickler that would; torch's switch for the whole process overrides it, and
    the few harmless classes that such a checkpoint holds are named.
    """
    import deepspeed
    from deepspeed.runtime.zero.config import ZeroStageEnum

    # Of use on CPUs only, compiled at first use; a compilation that is killed leaves a lock that later runs wait at for
    # ever. Without it gloo does the same.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    # DeepSpeed 0.19 calls torch 2.13 by old names, at every gather; can go when it knows the new ones.
    warnings.filterwarnings("ignore", message=r"`torch\.distributed\.\w+` is deprecated", category=FutureWarning)
    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
    torch.serialization.add_safe_globals(_checkpoint_classes())
    copyreg.pickle(ZeroStageEnum, _by_value)
    deepspeed.init_distributed(dist_backend="nccl" if torch.cuda.is_available() else "gloo", verbose=False)


def _by_value(stage: Any) -> tuple[Any, ...]:
    """How checkpoints write a member of an enumeration: Python 3.11.0 to 3.11.3 would have `getattr` called for it."""
    return type(stage), (stage.value,)


def _checkpoint_classes() -> list[Any]:
    from deepspeed.runtime.fp16.loss_scaler import DynamicLossScaler, LossScaler
    from deepspeed.runtime.zero.config import ZeroStageEnum
    from deepspeed.utils.tensor_fragment import fragment_address

    return [LossScaler, DynamicLossScaler, ZeroStageEnum, fragment_address]
