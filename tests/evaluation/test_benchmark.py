"""Evaluated jobs become systems, a leaderboard and a report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from taskmix import storage
from taskmix.config.plan import make_plan
from taskmix.config.schema import Config
from taskmix.errors import AlreadyExists, EvaluationError, NotFound
from taskmix.evaluation.report.model import read_report
from taskmix.evaluation.scorecard import read_evaluation

SKILL = {"linear": 0.6, "encoder": 0.9}


def test_every_system_is_ranked_with_intervals_speed_and_cost(project):
    report = read_report(project.benchmark("run-1", project.evaluate_all(skill=SKILL)))
    assert {row.name for row in report.systems} == {"linear/single", "encoder/single", "encoder/merged"}
    assert [row.rank for row in report.systems] == [1, 2, 3]
    assert report.systems[-1].name == "linear/single"
    for row in report.systems:
        assert list(row.tasks) == ["intent", "topic", "slots"]
        assert row.mean.value == pytest.approx(
            np.mean([row.tasks[task][primary].value for task, primary in report.primary.items()])
        )
        assert row.mean.interval.low < row.mean.value < row.mean.interval.high
        assert row.speed.p50_ms > 0
        assert row.speed.texts_per_s > 0
        assert row.training_seconds == 37.5
        assert row.training_usd == pytest.approx(37.5 / 3600 * 0.5 * 2)  # two nodes train, one serves
        assert row.usd_per_million_texts == pytest.approx(1e6 / row.speed.texts_per_s / 3600 * 0.5)


def test_intervals_of_the_report_are_those_of_the_scorecards(project):
    evaluations = project.evaluate_all(skill=SKILL)
    report = read_report(project.benchmark("run-1", evaluations))
    card = read_evaluation(evaluations[0]).scorecard.tasks["intent"]
    row = next(row for row in report.systems if row.name == "linear/single")
    assert row.tasks["intent"] == card.scores


def test_the_whole_frame_joins_the_predictions_of_all_jobs_of_a_system(project):
    evaluations = project.evaluate_all(skill=SKILL)
    report = read_report(project.benchmark("run-1", evaluations))
    parts = [read_evaluation(uri) for uri in evaluations[:3]]
    right = np.logical_and.reduce([next(iter(part.predictions.values())).right for part in parts])
    row = next(row for row in report.systems if row.name == "linear/single")
    frame = row.frames["assistant"]
    assert (frame.numerator, frame.denominator) == (right.sum(), 120)
    alone = [card.primary_score.value for part in parts for card in part.scorecard.tasks.values()]
    assert frame.value < min(alone)


def test_a_systems_latency_is_the_sum_of_its_jobs(project):
    evaluations = project.evaluate_all(skill=SKILL)
    report = read_report(project.benchmark("run-1", evaluations))
    speeds = [read_evaluation(uri).scorecard.speed["assistant"] for uri in evaluations[:3]]
    sums = [sum(speed.milliseconds[text] for speed in speeds) for text in speeds[0].milliseconds]
    row = next(row for row in report.systems if row.name == "linear/single")
    assert row.speed.p50_ms == pytest.approx(np.median(sums))


def test_differences_are_paired(project):
    """Systems of the same answers differ by nothing, with no doubt; their own intervals are wide."""
    evaluations = project.evaluate_all(skill=SKILL)
    report = read_report(project.benchmark("run-1", evaluations))
    groupings = [one for one in report.comparisons if one.score in report.primary]
    assert {(one.system, one.against) for one in groupings} <= {
        ("encoder/merged", "encoder/single"),
        ("encoder/single", "encoder/merged"),
    }
    assert [one.difference for one in groupings] == [0.0, 0.0, 0.0]
    worst = next(one for one in report.comparisons if one.system == "linear/single")
    assert worst.interval.high < 0
    assert worst.difference == pytest.approx(report.systems[-1].mean.value - report.best.mean.value)


def test_ranking_by_a_task(project):
    by_task = project.changed(gate={"rank_by": "topic"})
    jobs = make_plan(by_task.config).jobs
    skills = [0.5, 0.99, 0.5, 0.9, 0.7, 0.9, 0.9]
    evaluations = [by_task.evaluate(by_task.job(n, skill=skills[n])) for n in range(len(jobs))]
    report = read_report(by_task.benchmark("run-1", evaluations))
    assert report.best.name == "linear/single"
    assert report.best.ranked == report.best.tasks["topic"]["accuracy"]
    assert report.best.mean.value < max(row.mean.value for row in report.systems)


def test_each_system_has_a_record_that_names_its_bundles(project):
    evaluations = project.evaluate_all(skill=SKILL)
    project.benchmark("run-1", evaluations)
    run = storage.join(project.config.storage, "runs", "run-1")
    record = storage.read_json(storage.join(run, "systems", "encoder.single.json"))
    assert (record["name"], record["model"], record["grouping"], record["run"]) == (
        "encoder/single",
        "encoder",
        "single",
        "run-1",
    )
    assert [part["tasks"] for part in record["bundles"]] == [["intent"], ["topic"], ["slots"]]
    assert [part["evaluation"] for part in record["bundles"]] == evaluations[3:6]
    for part in record["bundles"]:
        assert record["tasks"][part["tasks"][0]] == part["uri"]
        assert storage.read_manifest(part["uri"]).sha256 == part["manifest"]
    assert Config.model_validate(storage.read_json(storage.join(run, "config.json"))) == project.config


def test_the_same_benchmark_again_is_reused_and_another_is_refused(project):
    evaluations = project.evaluate_all(skill=SKILL)
    first = project.benchmark("run-1", evaluations)
    before = storage.read_manifest(first)
    assert project.benchmark("run-1", list(reversed(evaluations))) == first
    assert storage.read_manifest(first) == before
    with pytest.raises(AlreadyExists):
        project.changed(gate={"rank_by": "intent"}).benchmark("run-1", evaluations)


def test_bundles_of_earlier_runs_are_told_as_reused(project):
    evaluations = project.evaluate_all(skill=SKILL)
    first = read_report(project.benchmark("run-1", evaluations))
    assert [job.reused_from for job in first.jobs] == [None] * 7
    fresh = project.evaluate(project.job(0, skill=0.7))
    second = read_report(project.benchmark("run-2", [fresh, *evaluations[1:]]))
    assert {job.name: job.reused_from for job in second.jobs if job.reused_from is None} == {"linear.intent": None}
    assert {job.reused_from for job in second.jobs} == {None, "run-1"}


def test_a_missing_evaluation_is_named(project):
    evaluations = project.evaluate_all(skill=SKILL)
    with pytest.raises(EvaluationError, match=r"no evaluation of \['encoder.slots'\]"):
        project.benchmark("run-1", [uri for uri in evaluations if "encoder.slots" not in uri])


def test_two_evaluations_of_one_job_are_refused(project):
    evaluations = project.evaluate_all(skill=SKILL)
    with pytest.raises(EvaluationError, match=r"job 'linear\.intent' is given by two evaluations"):
        project.benchmark("run-1", [*evaluations, evaluations[0]])


def test_evaluations_of_other_settings_are_refused(project):
    evaluations = project.evaluate_all(skill=SKILL)
    other = project.changed(evaluation={"resamples": 300, "latency_texts": 20})
    with pytest.raises(EvaluationError, match=r"was measured with .* the configuration says"):
        other.benchmark("run-1", evaluations)


def test_scores_of_different_test_data_are_not_compared(make_project):
    project, other = make_project(), make_project(test_rows=100)
    evaluations = [project.evaluate(project.job(n, skill=0.9)) for n in range(6)]
    evaluations.append(other.evaluate(other.job(6, skill=0.9)))
    with pytest.raises(EvaluationError, match=r"jobs 'linear\.intent' and .* were evaluated on different test data"):
        project.benchmark("run-1", evaluations)


def test_an_evaluation_that_is_not_there_is_told(project):
    with pytest.raises(NotFound):
        project.benchmark("run-1", [str(project.folder / "nowhere")])


def test_report_json_holds_no_nan_and_every_number_of_the_run(project):
    uri = project.benchmark("run-1", project.evaluate_all(skill=SKILL))

    def refuse(constant: str) -> float:
        raise AssertionError(constant)

    report = json.loads((Path(uri) / "report.json").read_text(), parse_constant=refuse)
    assert report["run"] == "run-1"
    assert len(report["details"]) == 9, "six jobs of one task and one of three"
    assert report["datasets"][0]["card"]["splits"]["test"]["rows"] == 120
