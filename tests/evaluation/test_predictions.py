"""What a model answered: collected, written as Parquet, read back."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from predicted import INTENT, ROWS, SLOTS, given

from taskmix.data.dataset import Row
from taskmix.data.schema import Span
from taskmix.errors import EvaluationError
from taskmix.evaluation.predictions import collect_predictions, digest_of_test_data, read_predictions, write_predictions
from taskmix.modeling.answers import NO_ANSWER, SlotsAnswer


def test_rows_without_a_label_are_left_out_and_an_unheard_label_stays_as_an_error():
    found = collect_predictions(INTENT, rows=ROWS, answers=[given("on")] * 4)
    assert found.examples.ids == ("1", "2", "4")
    assert found.examples.rows.tolist() == [0, 1, 3]
    assert found.right.tolist() == [True, False, False]


def test_predictions_come_back_from_parquet_as_they_were(tmp_path):
    spans, unreadable = SlotsAnswer((Span(0, 1, "room"),), (0.5,)), SlotsAnswer((), (), valid=False)
    labels = [given("on"), given(NO_ANSWER), given("on"), given("on")]
    for head, answers in ((INTENT, labels), (SLOTS, [SlotsAnswer((), ()), spans, unreadable, spans])):
        before = collect_predictions(head, rows=ROWS, answers=answers)
        write_predictions(before, tmp_path / "one.parquet")
        after = read_predictions(tmp_path / "one.parquet")
        assert (after.gold, after.predicted) == (before.gold, before.predicted)
        assert after.examples.labels == before.examples.labels
        assert np.array_equal(after.right, before.right)
        assert np.array_equal(after.valid, before.valid)
        assert before.valid.sum() == 2
        assert digest_of_test_data(after) == digest_of_test_data(before)
        write_predictions(after, tmp_path / "two.parquet")
        assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "two.parquet").read_bytes()


def test_the_digest_of_the_test_data_changes_with_text_and_gold_but_not_with_answers():
    base = digest_of_test_data(collect_predictions(INTENT, rows=ROWS, answers=[given("on")] * 4))
    assert base == digest_of_test_data(collect_predictions(INTENT, rows=ROWS, answers=[given("off")] * 4))
    relabelled = [Row("1", "light on", {"intent": "off"}), *ROWS[1:]]
    reworded = [Row("1", "lights on", {"intent": "on"}), *ROWS[1:]]
    for rows in (relabelled, reworded, ROWS[1:]):
        assert base != digest_of_test_data(collect_predictions(INTENT, rows=rows, answers=[given("on")] * len(rows)))


def test_a_test_split_without_any_label_is_refused():
    rows = [Row("1", "light on", {})]
    with pytest.raises(EvaluationError, match="task 'intent': none of the 1 rows of the test split has a label"):
        collect_predictions(INTENT, rows=rows, answers=[given("on")])


def test_a_parquet_file_of_something_else_is_refused(tmp_path):
    pq.write_table(pa.table({"id": ["1"]}), tmp_path / "plain.parquet")
    with pytest.raises(EvaluationError, match="holds no predictions of format 1"):
        read_predictions(tmp_path / "plain.parquet")
