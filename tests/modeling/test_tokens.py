from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskmix.data.schema import split_words
from taskmix.modeling.tokens import batches_by_length, first_subwords, tokenize
from taskmix.training.scratch import train_tokenizer

TOKENIZER = train_tokenizer(
    ["wake me up at nine", "play some jazz, please", "unbelievable weather"] * 5, vocabulary=120
)


def test_each_word_starts_at_the_first_sub_word_that_overlaps_it() -> None:
    # [CLS] "wake" "me" "##..."; a sentencepiece-like tokenizer counts the blank before a word as its own
    text = "wake me"
    assert first_subwords(text, [(0, 0), (0, 2), (2, 4), (4, 7), (0, 0)]).tolist() == [1, 3]


def test_two_words_in_one_sub_word_share_it() -> None:
    assert first_subwords("a b", [(0, 0), (0, 3), (0, 0)]).tolist() == [1, 1]


def test_a_word_beyond_the_cut_has_no_sub_word() -> None:
    assert first_subwords("one two three", [(0, 0), (0, 3), (0, 0)]).tolist() == [1, -1, -1]


@pytest.mark.parametrize("max_tokens", [8, None])
def test_sub_words_are_those_that_the_tokenizer_gives_when_it_is_called(max_tokens: int | None) -> None:
    texts = ["wake me up at nine please [SEP] [UNK]", "", "unbelievable jazz"]
    tokenizer = train_tokenizer(texts * 5, vocabulary=120)
    tokenizer(texts, padding=True, truncation=True, max_length=4, split_special_tokens=True)  # leaves traces

    tokens = tokenize(texts, tokenizer=tokenizer, max_tokens=max_tokens)

    called = tokenizer(texts, truncation=max_tokens is not None, max_length=max_tokens)["input_ids"]
    assert [text.ids.tolist() for text in tokens] == called
    assert max(len(text) for text in tokens) == (max_tokens or 12)


@given(st.text(max_size=60))
def test_any_text_gives_one_entry_a_word_and_stays_within_the_limit(text: str) -> None:
    (tokens,) = tokenize([text], tokenizer=TOKENIZER, max_tokens=16)
    assert len(tokens) <= 16
    assert len(tokens.word_starts) == len(split_words(text))
    assert all(-1 <= start < len(tokens) for start in tokens.word_starts)


@given(st.lists(st.integers(1, 90), max_size=80))
def test_batches_by_length_hold_every_text_once_within_the_budget(lengths: list[int]) -> None:
    batches = batches_by_length(lengths, tokens_per_batch=100)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    assert all(len(batch) * max(lengths[i] for i in batch) <= 100 for batch in batches)


def test_one_long_text_does_not_drag_short_ones_up_to_its_length() -> None:
    lengths = [12] * 28 + [110] * 3 + [256]

    batches = batches_by_length(lengths, tokens_per_batch=4096)

    assert [[lengths[i] for i in batch] for batch in batches] == [[256], [110] * 3, [12] * 28]


def test_no_text_gives_no_tokens() -> None:
    assert tokenize([], tokenizer=TOKENIZER, max_tokens=16) == []
    assert np.array_equal(tokenize([""], tokenizer=TOKENIZER, max_tokens=16)[0].word_starts, [])
