"""The decoder before fine-tuning: pretrained or random weights, its tokenizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from taskmix.config.schema import DecoderModel
from taskmix.errors import BundleError, TrainingError
from taskmix.modeling.answers import TaskHead
from taskmix.modeling.checkpoint import checkpoint_folder
from taskmix.modeling.prompts import PromptSet
from taskmix.modeling.tokens import load_tokenizer
from taskmix.training.decoder_scratch import scratch_decoder
from taskmix.training.packed_attention import choose_attention


def build_decoder(
    model: DecoderModel, *, prompts: PromptSet, heads: Mapping[str, TaskHead], texts: Sequence[str], bf16: bool
) -> tuple[Any, Any]:
    """The model before fine-tuning, pretrained or random, without LoRA; and its tokenizer.

    Args:
        model: what to build.
        prompts: of the job; a tokenizer of its own learns their words too.
        heads: of the job, for their labels.
        texts: of train.
        bf16: whether training computes in bf16.

    Raises:
        BundleError: transformers cannot load the checkpoint as a causal language model.
        TrainingError: prompts may be longer than the model has positions for.
    """
    if model.architecture is not None:
        module, tokenizer = scratch_decoder(model.architecture, prompts=prompts, heads=heads, texts=texts)
        module.to(weights_dtype(model, bf16=bf16))
        module.set_attn_implementation(choose_attention(module.config))
    else:
        assert model.checkpoint is not None
        with checkpoint_folder(model.checkpoint) as folder:
            tokenizer = load_tokenizer(folder)
            module = load_decoder_weights(folder, dtype=weights_dtype(model, bf16=bf16))
        _check_positions(model, module.config)
    module.config.pad_token_id = tokenizer.pad_token_id
    module.config.use_cache = False
    mark_tied_weights(module)
    return module, tokenizer


def mark_tied_weights(module: Any) -> None:
    """Tell transformers which weights its checkpoints leave out because they are another's.

    Its models know (`all_tied_weights_keys`) and save no copy, but its Trainer looks elsewhere, and would warn of a
    missing `lm_head.weight` at each checkpoint that it loads (https://github.com/huggingface/transformers/issues/27972).
    """
    module._keys_to_ignore_on_save = {*(module._keys_to_ignore_on_save or ()), *module.all_tied_weights_keys}


def weights_dtype(model: DecoderModel, *, bf16: bool) -> torch.dtype:
    """How weights are held while training.

    DeepSpeed keeps fp32 masters of bf16 weights, and LoRA never changes them; else bf16 would round updates away.
    """
    return torch.bfloat16 if bf16 and (model.tuning == "lora" or model.recipe.deepspeed) else torch.float32


def load_decoder_weights(folder: Any, *, dtype: torch.dtype) -> Any:
    """The causal language model in `folder`, with attention for packed rows.

    Raises:
        BundleError: transformers cannot make one of it.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = AutoConfig.from_pretrained(folder)
        return AutoModelForCausalLM.from_pretrained(
            folder, config=config, use_safetensors=True, dtype=dtype, attn_implementation=choose_attention(config)
        )
    except (OSError, ValueError, KeyError) as error:
        raise BundleError(f"{folder}: transformers cannot load it as a causal language model: {error}") from None


def recompute_activations(module: Any) -> None:
    """Have the model keep no activations within a layer, and compute them again for the gradients."""
    name = "activation_checkpointing_enable"  # the name since transformers 5.23; before, gradient_checkpointing_enable
    enable = getattr(module, name, None) or module.gradient_checkpointing_enable
    enable({"use_reentrant": False})


def _check_positions(model: DecoderModel, config: Any) -> None:
    limit = int(getattr(config, "max_position_embeddings", 1 << 30))
    if model.recipe.max_tokens > limit:
        raise TrainingError(
            f"recipe.max_tokens is {model.recipe.max_tokens}, but '{model.checkpoint}' reads at most {limit} tokens: "
            f"set it to {limit} or less"
        )
