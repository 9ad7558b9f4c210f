"""All runs of a storage: in order, with scores, data, drift, verdicts and champions; as a table and as a page."""

from __future__ import annotations

import pytest

from taskmix import storage
from taskmix.errors import NotFound
from taskmix.evaluation.history import History, chance_of_labels, drift, label_distance, read_history
from taskmix.evaluation.report.history_page import render_history, timelines
from taskmix.serving.releases import promote, stage


@pytest.fixture(scope="module")
def history(make_shared_project) -> History:
    """Three runs: deployed; refused on the same data; deployed on other data. And one of another version."""
    project = make_shared_project(evaluation={"resamples": 100, "latency_texts": 5})
    for run, skill, rows in (("run-1", 0.85, 120), ("run-2", 0.6, 120), ("run-3", 0.95, 150)):
        project = make_shared_project(test_rows=rows, evaluation={"resamples": 100, "latency_texts": 5})
        report = project.benchmark(run, project.evaluate_all(skill={"linear": 0.3, "encoder": skill}))
        if project.decide(report).accepted:
            promote(stage(report, deployment="taskmix"))
    broken = storage.join(project.config.storage, "runs", "run-0", "report", "report.json")
    storage.write_json(broken, {"format": 9})
    return read_history(project.config.storage)


def test_runs_are_told_in_the_order_of_their_time(history):
    assert [line.run for line in history.runs] == ["run-1", "run-2", "run-3"]
    assert [line.gate for line in history.runs] == ["accepted", "refused", "accepted"]
    assert [(line.deployed, line.serving) for line in history.runs] == [(True, False), (False, False), (True, True)]
    assert all(line.ranked.interval is not None for line in history.runs)
    assert [champion.run for champion in history.champions] == ["run-3"]


def test_a_refusal_is_told_with_its_evidence(history):
    assert len(history.runs[1].failed) == 1
    assert "on the same test data: difference -" in history.runs[1].failed[0]


def test_changed_data_are_told_with_what_changed(history):
    assert [bool(line.datasets[0].drift) for line in history.runs] == [False, False, True]
    told = " ".join(history.runs[2].datasets[0].drift)
    assert "test: 150 rows (+30)" in told
    assert "of the labels in test are distributed otherwise" in told


def test_a_report_of_another_version_is_left_out_and_told(history):
    (told,) = history.unread
    assert told.startswith("run-0: ")
    assert "reads reports of format 1" in told


def test_label_distance_is_the_share_that_would_have_to_change():
    assert label_distance({"a": 50, "b": 50}, {"a": 75, "b": 25}) == pytest.approx(0.25)
    assert label_distance({"a": 1}, {"b": 9}) == 1.0
    assert label_distance({"a": 10, "b": 30}, {"a": 1, "b": 3}) == 0.0


def test_drift_of_labels_is_told_with_its_chance():
    assert chance_of_labels({"a": 50, "b": 50}, {"a": 51, "b": 49}) > 0.5
    assert chance_of_labels({"a": 500, "b": 500}, {"a": 600, "b": 400}) < 0.001
    assert chance_of_labels({"a": 50}, {"a": 60}) == 1.0


def test_new_and_lost_labels_are_drift():
    def card(labels, sha):
        counts = {"train": dict.fromkeys(labels, 10)}
        return {"splits": {"train": {"rows": 20, "sha256": sha}}, "tasks": {"t": {"labels": labels, "counts": counts}}}

    assert drift(card(["a", "b"], "1"), card(["a", "c"], "2")) == (
        "train: other content of the same 20 rows",
        "t: new labels c",
        "t: labels gone b",
        "t: 50.0 % of the labels in train are distributed otherwise (p < 0.001)",
    )


def test_the_page_tells_all_of_it_and_needs_nothing_from_elsewhere(history):
    page = render_history(history)
    for told in ("run-1", "run-2", "run-3", "served now", "test: 150 rows (+30)", "difference -", "run-0: "):
        assert told in page
    assert "src=" not in page
    assert "href=" not in page
    assert page == render_history(history)
    (chart,) = timelines(history)
    assert [mark.line.run for mark in chart.marks] == ["run-1", "run-2", "run-3"]
    assert page.count('class="refused"') == 1


def test_a_storage_without_runs_is_told(tmp_path):
    with pytest.raises(NotFound, match="holds no run with a report; give the `storage` of a configuration"):
        read_history(str(tmp_path))
