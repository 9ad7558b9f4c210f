from __future__ import annotations

import numpy as np
import pytest
import torch

from taskmix.data.dataset import Dataset
from taskmix.data.mixture import make_mixture
from taskmix.data.schema import LabelSpace, Span
from taskmix.modeling.answers import TaskHead
from taskmix.modeling.tokens import TokenizedText, tokenize
from taskmix.training.batches import (
    IGNORED,
    BatchPlan,
    TokenizedMixture,
    label_ids,
    pack_epoch,
    plan_epoch,
    split_to_count,
)
from taskmix.training.scratch import train_tokenizer

HEADS = {
    "intent": TaskHead("intent", "classification", LabelSpace(("ask", "tell"))),
    "slots": TaskHead("slots", "slot_filling", LabelSpace(("place", "time"))),
}


def lengths_of(count: int, *, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(3, 60, size=count)


def test_a_batch_stays_within_its_token_budget_and_every_row_comes_once() -> None:
    lengths = lengths_of(1000)
    batches = plan_epoch(lengths, np.arange(1000), tokens_per_batch=256, generator=np.random.default_rng(1))
    assert sorted(row for batch in batches for row in batch) == list(range(1000))
    assert max(len(batch) * lengths[batch].max() for batch in batches) <= 256


def test_batches_of_like_length_waste_less_than_a_tenth_on_padding() -> None:
    lengths = lengths_of(5000)
    batches = plan_epoch(lengths, np.arange(5000), tokens_per_batch=512, generator=np.random.default_rng(1))
    padded = sum(len(batch) * int(lengths[batch].max()) for batch in batches)
    assert lengths.sum() / padded > 0.9


def test_a_row_longer_than_the_budget_is_a_batch_of_its_own() -> None:
    lengths = np.array([5, 900, 5])
    batches = plan_epoch(lengths, np.arange(3), tokens_per_batch=64, generator=np.random.default_rng(1))
    assert [1] in batches


def test_splitting_to_a_count_keeps_every_row() -> None:
    batches = split_to_count([[1, 2, 3, 4, 5], [6]], count=4)
    assert len(batches) == 4
    assert sorted(row for batch in batches for row in batch) == [1, 2, 3, 4, 5, 6]


def test_fewer_rows_than_processes_are_seen_twice_rather_than_leave_a_process_idle() -> None:
    assert split_to_count([[7]], count=2) == [[7], [7]]


@pytest.fixture
def mixture(dataset: Dataset) -> TokenizedMixture:
    rows = dataset.rows("train")
    mixture = make_mixture({"words": rows}, tasks=["intent", "slots"])
    heads = {
        "intent": TaskHead("intent", "classification", dataset.label_spaces["intent"]),
        "slots": TaskHead("slots", "slot_filling", dataset.label_spaces["slots"]),
    }
    texts = [row.text for row in mixture.rows]
    tokens = tokenize(texts, tokenizer=train_tokenizer(texts, vocabulary=600), max_tokens=48)
    return TokenizedMixture(mixture, tokens, heads=heads)


def test_every_epoch_has_as_many_batches_and_other_company(mixture: TokenizedMixture) -> None:
    plan = BatchPlan(mixture.lengths, sizes=mixture.sizes, epochs=4, tokens_per_batch=256, temperature=1.0, seed=1)
    epochs = []
    for epoch in range(4):
        plan.set_epoch(epoch)
        epochs.append(list(plan))
    assert {len(batches) for batches in epochs} == {len(plan)}
    assert len({tuple(map(tuple, batches)) for batches in epochs}) == 4


def test_two_processes_share_an_epoch_without_overlap(mixture: TokenizedMixture) -> None:
    def rows(process: int) -> set[int]:
        plan = BatchPlan(
            mixture.lengths,
            sizes=mixture.sizes,
            epochs=1,
            tokens_per_batch=256,
            temperature=1.0,
            seed=1,
            processes=2,
            process=process,
        )
        return {row for batch in plan for row in batch}

    assert rows(0) | rows(1) == set(range(len(mixture)))
    assert not rows(0) & rows(1)


def test_packed_batches_fill_the_budget_without_padding() -> None:
    lengths = lengths_of(1000)
    order = np.random.default_rng(1).permutation(1000)
    batches = pack_epoch(lengths, order, tokens_per_batch=512, generator=np.random.default_rng(1))
    assert [row for batch in batches for row in batch] == order.tolist()
    filled = [int(lengths[batch].sum()) for batch in batches]
    assert max(filled) <= 512
    assert np.mean(filled[:-1]) > 512 - lengths.max()


@pytest.mark.parametrize(("processes", "passes"), [(1, 1), (2, 1), (1, 3), (2, 3)])
def test_every_batch_knows_the_rows_of_its_whole_optimizer_step(processes: int, passes: int) -> None:
    lengths = lengths_of(500)
    plans = [
        BatchPlan(
            lengths,
            sizes=[500],
            epochs=1,
            tokens_per_batch=1024,
            temperature=1.0,
            seed=1,
            cut=pack_epoch,
            passes=passes,
            processes=processes,
            process=process,
        )
        for process in range(processes)
    ]
    assert len(plans[0]) % passes == 0
    for step in range(len(plans[0]) // passes):
        own = slice(step * passes, (step + 1) * passes)
        rows = sum(len(batch) for plan in plans for batch in list(plan)[own])
        assert {told for plan in plans for told in plan.step_rows[own]} == {rows}


def test_the_first_sub_word_of_a_word_carries_its_tag_and_no_other_does() -> None:
    tokens = TokenizedText(np.arange(6, dtype=np.int32), np.array([1, 3, 4], dtype=np.int32))
    ids = label_ids((Span(1, 3, "time"),), text="wake at nine", tokens=tokens, head=HEADS["slots"])
    tags = HEADS["slots"].labels.tags
    assert ids[[1, 3, 4]].tolist() == [tags.index("O"), tags.index("B-time"), tags.index("I-time")]
    assert ids[[0, 2, 5]].tolist() == [IGNORED] * 3


def test_a_word_cut_off_by_the_token_limit_has_no_tag() -> None:
    tokens = TokenizedText(np.arange(3, dtype=np.int32), np.array([1, -1], dtype=np.int32))
    ids = label_ids((Span(1, 2, "time"),), text="at nine", tokens=tokens, head=HEADS["slots"])
    assert ids.tolist() == [IGNORED, 0, IGNORED]


def test_a_row_without_a_task_is_left_out_of_that_tasks_loss(dataset: Dataset) -> None:
    rows = dataset.rows("train")[:4]
    texts = [row.text for row in rows]
    mixture = make_mixture({"words": rows}, tasks=["intent"])
    heads = {
        "intent": TaskHead("intent", "classification", dataset.label_spaces["intent"]),
        **{"slots": HEADS["slots"]},
    }
    tokens = tokenize(texts, tokenizer=train_tokenizer(texts, vocabulary=200), max_tokens=48)
    batch = TokenizedMixture(mixture, tokens, heads=heads).collate([0, 1, 2, 3], pad_token_id=0)
    labels = batch["labels"]
    assert isinstance(labels, dict)
    assert torch.all(labels["slots"] == IGNORED)
    assert torch.all(labels["intent"] >= 0)
