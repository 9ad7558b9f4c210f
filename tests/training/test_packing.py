"""Packed rows: what an example's loss is alone, it is in company, and so are the gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.masking_utils import find_packed_sequence_indices

from taskmix.training.packed_attention import PACKED, choose_attention, register
from taskmix.training.packing import PromptedAnswer, answer_logits, collate_packed, packed_loss

VOCABULARY = 300
CONFIG = LlamaConfig(
    vocab_size=VOCABULARY,
    hidden_size=64,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    intermediate_size=96,
)
SIZES = [(5, 1), (1, 1), (9, 4), (30, 12), (1, 3)]
TOLERANCE = 1e-6
"""Of gradients of order 1 in fp32: sums in another order."""


def make_examples(sizes: list[tuple[int, int]] = SIZES, *, seed: int = 0) -> list[PromptedAnswer]:
    generator = np.random.default_rng(seed)
    draw = lambda count: generator.integers(3, VOCABULARY, count).astype(np.int32)  # noqa: E731
    return [PromptedAnswer(draw(prompt), draw(answer)) for prompt, answer in sizes]


def make_model(attention: str) -> Any:
    register()
    torch.manual_seed(1)
    return LlamaForCausalLM._from_config(CONFIG, attn_implementation=attention)


def gradients(model: Any, rows: list[dict[str, Any]]) -> tuple[float, list[torch.Tensor]]:
    model.zero_grad()
    loss = sum(packed_loss(model, row) for row in rows)
    loss.backward()
    return loss.item(), [weight.grad.clone() for weight in model.parameters()]


@pytest.mark.parametrize("attention", [PACKED, "sdpa", "eager"])
def test_packed_loss_and_gradients_are_those_of_each_example_alone(attention: str) -> None:
    model, examples = make_model(attention), make_examples()
    share = 1 / len(examples)
    packed, packed_gradients = gradients(model, [collate_packed(examples, [share] * len(examples))])
    alone, alone_gradients = gradients(model, [collate_packed([example], [share]) for example in examples])
    assert packed == pytest.approx(alone, rel=1e-6)
    for one, other in zip(packed_gradients, alone_gradients, strict=True):
        assert torch.allclose(one, other, atol=TOLERANCE)


def test_the_loss_is_the_models_own_on_the_answers_tokens() -> None:
    """transformers' loss of one example, its prompt masked out, is the reference."""
    model, (example,) = make_model("sdpa"), make_examples([(9, 4)])
    ids = torch.tensor([[*map(int, example.prompt_ids), *map(int, example.answer_ids)]])
    labels = ids.masked_fill(torch.arange(ids.shape[1]) < len(example.prompt_ids), -100)
    expected = model(input_ids=ids, labels=labels, use_cache=False).loss
    assert packed_loss(model, collate_packed([example], [1.0])).item() == pytest.approx(expected.item(), rel=1e-6)


def test_a_long_answer_counts_as_much_as_a_short_one() -> None:
    row = collate_packed(make_examples([(5, 1), (5, 40)]), [0.5, 0.5])
    assert row["target_weights"][0] == 0.5
    assert row["target_weights"][1:].sum() == pytest.approx(0.5)


def test_logits_are_computed_where_an_answer_is_predicted_and_nowhere_else() -> None:
    logits = answer_logits(make_model(PACKED), collate_packed(make_examples(), [0.2] * 5))
    assert logits.shape == (sum(answer for _, answer in SIZES), VOCABULARY)


def test_no_example_sees_another() -> None:
    model, examples = make_model(PACKED), make_examples()
    before = answer_logits(model, collate_packed(examples, [1.0] * 5))
    others = [*make_examples(seed=7)[:-1], examples[-1]]
    after = answer_logits(model, collate_packed(others, [1.0] * 5))
    assert torch.equal(before[-3:], after[-3:])


def test_a_row_of_examples_of_one_token_still_counts_as_packed() -> None:
    """transformers reads the ends of examples from the positions; this is the case that it could get wrong."""
    row = collate_packed(make_examples([(1, 1), (1, 1), (2, 1)]), [1.0] * 3)
    assert find_packed_sequence_indices(row["position_ids"]).tolist() == [[0, 1, 2, 2]]


def test_a_model_with_sliding_windows_keeps_transformers_attention() -> None:
    from transformers import MistralConfig

    assert choose_attention(MistralConfig(sliding_window=16)) == "sdpa"
    assert choose_attention(CONFIG) == PACKED
