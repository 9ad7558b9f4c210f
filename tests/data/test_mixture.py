from __future__ import annotations

from taskmix.data.dataset import Row
from taskmix.data.mixture import epoch_counts, epoch_rows, make_mixture


def test_temperature_one_takes_every_row_once() -> None:
    assert epoch_counts([900, 100], temperature=1.0) == [900, 100]
    assert sorted(epoch_rows([900, 100], temperature=1.0, seed=1, epoch=0)) == list(range(1000))


def test_a_high_temperature_evens_the_datasets_out() -> None:
    # 900 ** (1/2) : 100 ** (1/2) is 30 : 10 (Raffel et al. 2020, section 3.5.2)
    assert epoch_counts([900, 100], temperature=2.0) == [750, 250]
    rows = epoch_rows([900, 100], temperature=2.0, seed=1, epoch=0)
    small = [row for row in rows if row >= 900]
    assert len(rows) == 1000
    assert len(small) == 250
    assert {small.count(row) for row in set(small)} == {2, 3}, "all rows come before one comes again"


def test_an_empty_dataset_takes_no_share() -> None:
    assert epoch_counts([10, 0], temperature=5.0) == [10, 0]


def test_epochs_differ_and_a_seed_repeats_them() -> None:
    first = epoch_rows([50], temperature=1.0, seed=4, epoch=0).tolist()
    assert first == epoch_rows([50], temperature=1.0, seed=4, epoch=0).tolist()
    assert first != epoch_rows([50], temperature=1.0, seed=4, epoch=1).tolist()
    assert first != epoch_rows([50], temperature=1.0, seed=5, epoch=0).tolist()


def test_a_row_keeps_only_the_labels_of_the_jobs_tasks_and_goes_without_any() -> None:
    rows = [Row("1", "a", {"intent": "ask", "mood": "good"}), Row("2", "b", {"mood": "bad"})]
    mixture = make_mixture({"words": rows}, tasks=["intent"])
    assert mixture.rows == (Row("1", "a", {"intent": "ask"}),)
    assert mixture.sizes == (1,)
