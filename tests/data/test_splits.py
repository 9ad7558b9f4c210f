from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskmix.data.dataset import Row
from taskmix.data.splits import cut_dev, draw_sample


def make_rows(labels: list[str]) -> list[Row]:
    return [Row(f"r{n}", f"text {n}", {"intent": label}) for n, label in enumerate(labels)]


def ids(rows: list[Row]) -> list[str]:
    return [row.id for row in rows]


def test_cut_takes_the_same_share_of_every_label() -> None:
    train, dev = cut_dev(make_rows(["a"] * 60 + ["b"] * 30 + ["c"] * 10), fraction=0.1, stratify_by="intent", seed=1)
    assert Counter(row.labels["intent"] for row in dev) == {"a": 6, "b": 3, "c": 1}
    assert len(train) == 90


def test_last_row_of_a_label_stays_in_train() -> None:
    rows = make_rows(["rare", *["a"] * 9, "seldom"])
    train, dev = cut_dev(rows, fraction=0.49, stratify_by="intent", seed=1)
    assert {row.labels["intent"] for row in train} == {"rare", "a", "seldom"}
    assert {row.labels["intent"] for row in dev} == {"a"}


def test_cut_does_not_depend_on_the_order_of_rows() -> None:
    rows = make_rows(["a", "b", "c"] * 20)
    _, dev = cut_dev(rows, fraction=0.2, stratify_by="intent", seed=5)
    _, reversed_dev = cut_dev(rows[::-1], fraction=0.2, stratify_by="intent", seed=5)
    assert set(ids(dev)) == set(ids(reversed_dev))
    assert ids(dev) == sorted(ids(dev), key=lambda row_id: int(row_id[1:]))


def test_another_seed_cuts_otherwise() -> None:
    rows = make_rows(["a", "b"] * 50)
    cuts = [cut_dev(rows, fraction=0.2, stratify_by="intent", seed=seed)[1] for seed in (1, 2, 1)]
    assert ids(cuts[0]) == ids(cuts[2]) != ids(cuts[1])


@given(st.lists(st.sampled_from("abcdef"), min_size=2, max_size=60), st.floats(0.01, 0.49))
def test_cut_loses_nothing_and_leaves_train_every_label(labels: list[str], fraction: float) -> None:
    rows = make_rows(labels)
    train, dev = cut_dev(rows, fraction=fraction, stratify_by="intent", seed=3)
    assert sorted(ids(train + dev)) == sorted(ids(rows))
    assert {row.labels["intent"] for row in train} == set(labels)


@pytest.mark.parametrize("count", [2, 3, 50])
def test_cut_without_a_task_to_stratify_by_is_random(count: int) -> None:
    train, dev = cut_dev([Row(str(n), "", {}) for n in range(count)], fraction=0.1, stratify_by=None, seed=3)
    assert len(dev) == max(1, round(count / 10))
    assert len(train) + len(dev) == count


def test_sample_is_seeded_ordered_and_part_of_a_larger_one() -> None:
    rows = make_rows(["a"] * 100)
    small, large = draw_sample(rows, size=10, seed=1), draw_sample(rows, size=30, seed=1)
    assert len(small) == 10
    assert set(ids(small)) < set(ids(large))
    assert ids(large) == [row.id for row in rows if row.id in set(ids(large))]
    assert ids(draw_sample(rows, size=10, seed=2)) != ids(small)
    assert draw_sample(rows, size=200, seed=1) == rows
