"""The trie of labels against the plain way: each label's whole string scored by itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM

from taskmix.errors import DataError
from taskmix.modeling.label_trie import build_trie, exact_scores, greedy_scores
from taskmix.modeling.reading import read_prefix, read_prompts, shared_start

VOCABULARY, END = 40, 1
LABELS = [[5, 6, END], [5, 6, 7, END], [5, 8, END], [9, END], [9, 9, 9, END], [5, 6, 7, 7, 7, 10, END]]
"""The second begins with the first, and the last with the second."""
PROMPTS = [np.array(ids, dtype=np.int32) for ids in ([2, 3, 4, 11, 12, 13], [2, 3, 4, 11, 20, 21, 22, 23, 24], [2, 30])]


def tiny(*, attention: str = "sdpa", heads: int = 4, key_value_heads: int = 2) -> Any:
    torch.manual_seed(5)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=heads,
        num_key_value_heads=key_value_heads,
        intermediate_size=48,
        initializer_range=0.3,  # wide, so that probabilities differ
    )
    return LlamaForCausalLM._from_config(config, attn_implementation=attention).eval()


@pytest.fixture(scope="module")
def module() -> Any:
    return tiny()


@torch.inference_mode()
def one_by_one(module: Any, prompt: np.ndarray, label: list[int]) -> float:
    ids = torch.tensor([[*prompt.tolist(), *label]])
    logp = module(ids).logits.log_softmax(dim=-1)[0]
    return float(sum(logp[len(prompt) - 1 + place, token] for place, token in enumerate(label)))


def plain_scores(module: Any, labels: list[list[int]] = LABELS) -> np.ndarray:
    return np.array([[one_by_one(module, prompt, label) for label in labels] for prompt in PROMPTS])


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("key_value_heads", [4, 1])
def test_one_pass_over_the_trie_scores_labels_as_their_strings_would(attention: str, key_value_heads: int) -> None:
    module = tiny(attention=attention, key_value_heads=key_value_heads)
    scores = exact_scores(read_prompts(module, PROMPTS), build_trie(LABELS, names=list("abcdef")))
    assert np.abs(scores - plain_scores(module)).max() < 1e-5


def test_the_reading_stays_where_it_was(module: Any) -> None:
    reading, trie = read_prompts(module, PROMPTS), build_trie(LABELS, names=list("abcdef"))
    first = exact_scores(reading, trie)
    assert np.array_equal(first, exact_scores(reading, trie))
    reading.advance([[5], [5, 6], []])
    moved = exact_scores(reading, build_trie([[6, END], [7, END]], names=["x", "y"]))
    whole = [one_by_one(module, np.array([*PROMPTS[0], 5]), [6, END]), one_by_one(module, PROMPTS[2], [7, END])]
    assert [moved[0, 0], moved[2, 1]] == pytest.approx(whole, abs=1e-5)


def test_a_shared_beginning_is_read_once_and_changes_nothing(module: Any) -> None:
    prompts = PROMPTS[:2]
    start = shared_start(*prompts)
    assert start is not None
    assert start.tolist() == [2, 3, 4, 11]
    trie = build_trie(LABELS, names=list("abcdef"))
    alone = exact_scores(read_prompts(module, prompts), trie)
    after = exact_scores(read_prompts(module, prompts, prefix=read_prefix(module, start)), trie)
    assert np.abs(alone - after).max() < 1e-5
    assert shared_start(PROMPTS[0], PROMPTS[2]) is None


def test_the_mean_over_tokens_is_another_choice(module: Any) -> None:
    trie = build_trie(LABELS, names=list("abcdef"))
    means = exact_scores(read_prompts(module, PROMPTS), trie, length_normalized=True)
    assert means == pytest.approx(plain_scores(module) / np.array([len(label) for label in LABELS]), abs=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.integers(2, 5), min_size=1, max_size=4), min_size=2, max_size=12, unique_by=tuple))
def test_any_labels_are_scored_as_their_strings(module: Any, drawn: list[list[int]]) -> None:
    labels = [[*label, END] for label in drawn]
    trie = build_trie(labels, names=[str(label) for label in labels])
    assert np.abs(exact_scores(read_prompts(module, PROMPTS), trie) - plain_scores(module, labels)).max() < 1e-5
    shares = np.exp(greedy_scores(read_prompts(module, PROMPTS), trie))
    assert shares.sum(axis=1) == pytest.approx(np.ones(3), abs=1e-5)


def test_the_greedy_walk_takes_the_likeliest_token_at_each_branch(module: Any) -> None:
    trie = build_trie(LABELS, names=list("abcdef"))
    scores = greedy_scores(read_prompts(module, PROMPTS), trie)
    for prompt, row in zip(PROMPTS, scores, strict=True):
        written: list[int] = []
        while written not in LABELS:
            follow = {label[len(written)] for label in LABELS if label[: len(written)] == written}
            written.append(max(follow, key=lambda token: one_by_one(module, np.array([*prompt, *written]), [token])))
        assert row.argmax() == LABELS.index(written)


def test_one_label_alone_is_certain(module: Any) -> None:
    trie = build_trie([[5, 6, END]], names=["only"])
    assert greedy_scores(read_prompts(module, PROMPTS), trie) == pytest.approx(np.zeros((3, 1)))
    assert exact_scores(read_prompts(module, PROMPTS), trie).shape == (3, 1)


def test_labels_that_are_the_same_tokens_are_refused() -> None:
    with pytest.raises(DataError, match="labels 'One' and 'one' are the same tokens"):
        build_trie([[5, END], [5, END]], names=["One", "one"])
