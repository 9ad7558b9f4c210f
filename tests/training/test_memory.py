"""What fine-tuning a decoder takes of a GPU: against published sizes, against autograd, and with what it advises."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from taskmix.config.schema import DecoderModel, Hardware
from taskmix.training.memory import GIB, LONGEST_ANSWER, estimate, layer_bytes, remedies
from taskmix.training.model_shapes import ModelShape, shape_of
from taskmix.training.packed_attention import choose_attention


def make_model(checkpoint: str = "meta-llama/Meta-Llama-3-8B", *, tuning: str = "full", **recipe: Any) -> DecoderModel:
    fields = {"kind": "decoder", "checkpoint": checkpoint, "tuning": tuning, "recipe": recipe}
    return DecoderModel.model_validate(fields)


def shape(model: DecoderModel) -> ModelShape:
    found = shape_of(model)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("checkpoint", "billions"),
    [
        ("meta-llama/Llama-2-7b-hf", 6.738),
        ("meta-llama/Llama-2-13b-hf", 13.016),
        ("s3://models/llama-2-70b", 68.977),
        ("meta-llama/Meta-Llama-3-8B", 8.030),
        ("meta-llama/Meta-Llama-3-70B@main", 70.554),
    ],
)
def test_published_shapes_have_the_published_number_of_weights(
    checkpoint: str, billions: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numbers from the model cards' safetensors metadata."""
    from taskmix.training.model_shapes import _from_name

    found = _from_name(checkpoint)
    assert found is not None
    assert found.parameters / 1e9 == pytest.approx(billions, abs=0.001)


def test_a_name_that_tells_nothing_is_not_guessed() -> None:
    assert shape_of(make_model("someone/their-model")) is None


TINY = LlamaConfig(
    vocab_size=512,
    hidden_size=128,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    intermediate_size=384,
    tie_word_embeddings=True,
)


def kept_bytes(model: Any, *, tokens: int) -> int:
    """What autograd keeps of a forward pass but for weights: every storage once."""
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    ids = torch.arange(tokens).remainder(500).unsqueeze(0)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(input_ids=ids, use_cache=False, packed_lengths=(tokens,)).last_hidden_state.sum()
    return sum(kept.values())


def test_activations_of_a_layer_are_what_autograd_keeps() -> None:
    """Within a fifth: the estimate counts the operations of the layer, not those of a version of transformers."""
    torch.manual_seed(1)
    model = LlamaForCausalLM._from_config(TINY, attn_implementation=choose_attention(TINY)).model
    tiny = ModelShape(3, 128, 4, 2, 32, 384, 512, tied=True, told_by="test")
    tokens = 256
    assert sum(weight.numel() for weight in model.parameters()) == tiny.parameters
    assert tiny.layers * tokens * layer_bytes(tiny, width=4) == pytest.approx(kept_bytes(model, tokens=tokens), rel=0.2)


def test_zero_spreads_what_its_stage_says() -> None:
    """Rajbhandari et al. 2020, table 1: 7.5 B weights on 64 GPUs take 120, 31.4, 16.6 and 1.9 GB of each."""
    seven = ModelShape(1, 1, 1, 1, 1, 1, 7_500_000_000, tied=True, told_by="test")
    states = {}
    for stage in ("zero1", "zero2", "zero3"):
        taken = estimate(make_model(deepspeed=stage, precision="bf16"), shape=seven, gpus=64)
        states[stage] = (taken.weights_gib + taken.gradients_gib + taken.optimizer_gib) * GIB / 1e9
    own_step = 4 * 7.5 / 64  # fp32 gradients of the step, which the paper leaves out
    assert states["zero1"] == pytest.approx(31.4 + own_step, abs=0.1)
    assert states["zero2"] == pytest.approx(16.6 + own_step, abs=0.1)
    assert states["zero3"] == pytest.approx(1.9 + own_step + 2.0, abs=0.1)  # and the weights gathered at a time


def test_what_is_advised_fits() -> None:
    hardware = Hardware(gpus=1, gpu_memory_gib=80)
    advised = remedies(make_model(), shape=shape(make_model()), hardware=hardware)
    assert advised
    assert all(remedy.total_gib <= 80 for remedy in advised)


def test_fewer_tokens_of_a_pass_are_advised_before_another_way_of_tuning() -> None:
    model = make_model("meta-llama/Llama-2-7b-hf", tuning="lora", tokens_per_batch=65536)
    advised = remedies(model, shape=shape(model), hardware=Hardware(gpus=1, gpu_memory_gib=24))
    assert advised[0].settings["gradient_checkpointing"] is True
    assert "tuning" not in advised[0].settings


def test_a_pass_holds_at_least_the_longest_example() -> None:
    short = estimate(make_model(tokens_per_forward=1, max_tokens=1024), shape=shape(make_model()), gpus=1)
    long = estimate(
        make_model(tokens_per_forward=1024 + LONGEST_ANSWER, max_tokens=1024), shape=shape(make_model()), gpus=1
    )
    assert short == long
