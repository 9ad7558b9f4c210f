"""Merge where no harm is refuted by the margin, keep apart where harm is shown, say so where neither can be told."""

from __future__ import annotations

import pytest

from taskmix.config.plan import make_plan
from taskmix.evaluation.benchmark import benchmark
from taskmix.evaluation.paired import holm
from taskmix.evaluation.report.figures import MINUS
from taskmix.evaluation.report.model import Report, read_report
from taskmix.evaluation.report.render import render_html, render_markdown

MARGINS = {"accuracy": 0.03, "span_f1": 0.03}


def report_on(make_project, *, merged: float, rows: int = 300, seed: int = 1, margins=MARGINS, **sections) -> Report:
    """A run whose single encoders know 90 % of the texts and whose merged one knows `merged` of them."""
    evaluation = {"resamples": 1000, "latency_texts": 5, "margins": margins}
    project = make_project(test_rows=rows, evaluation=evaluation, **sections)
    uris = []
    for number, job in enumerate(make_plan(project.config).jobs):
        together = len(job.tasks) > 1
        skill = {"linear": 0.5, "encoder": merged if together else 0.9}[job.model]
        uris.append(project.evaluate(project.job(number, skill=skill, seed=seed if together else 1)))
    return read_report(project.benchmark("run-1", uris))


def test_a_merged_model_that_answers_alike_is_merged(make_project):
    report = report_on(make_project, merged=0.9)
    (verdict,) = report.verdicts
    assert (verdict.merged, verdict.apart, verdict.verdict) == ("encoder/merged", "encoder/single", "merge")
    assert {test.outcome for test in verdict.tests} == {"not worse"}
    assert all(test.equivalent and test.difference == 0 for test in verdict.tests)
    assert verdict.sentence.startswith("Merge: one encoder model (encoder/merged) instead of 3 (encoder/single)")
    assert "a text instead of" in verdict.sentence
    assert "a million texts instead of" in verdict.sentence
    assert (verdict.jobs.merged, verdict.jobs.apart) == (1, 3)
    rows = {row.name: row for row in report.systems}
    assert verdict.p50_ms.merged == rows["encoder/merged"].speed.p50_ms
    assert verdict.usd_per_million_texts.apart == rows["encoder/single"].usd_per_million_texts


def test_a_merged_model_that_loses_is_kept_apart_and_the_loss_is_told(make_project):
    (verdict,) = report_on(make_project, merged=0.78).verdicts
    assert verdict.verdict == "keep apart"
    harmed = [test for test in verdict.tests if test.outcome == "worse"]
    assert harmed
    for test in harmed:
        assert test.difference < 0
        assert test.p_difference_adjusted <= 0.05
        assert f"{test.task} {MINUS}" in verdict.sentence
    intent = verdict.tests[0]
    assert (intent.test, intent.interval.method) == ("exact McNemar", "Tango's score")
    assert (intent.gained - intent.lost) / intent.texts == pytest.approx(intent.difference)
    slots = verdict.tests[2]
    assert slots.test == "approximate randomisation"
    assert slots.interval.method in ("BCa bootstrap", "percentile bootstrap")


def test_too_few_texts_leave_it_undecided_with_the_least_margin_beside_it(make_project):
    report = report_on(make_project, merged=0.9, rows=80, seed=2)
    (verdict,) = report.verdicts
    assert verdict.verdict == "undecided"
    open_tests = [test for test in verdict.tests if test.outcome == "undecided"]
    assert all(test.detectable_margin > 0.03 for test in open_tests)
    for test in open_tests:
        assert f"the smallest this test set can show is {round(test.detectable_margin * 100, 2):g}" in verdict.sentence
    assert "least margin" in render_markdown(report)


def test_without_a_margin_nothing_can_be_merged_and_the_reader_is_told_why(make_project):
    report = report_on(make_project, merged=0.9, margins={"accuracy": 0.03})
    (verdict,) = report.verdicts
    assert verdict.verdict == "undecided"
    assert [test.outcome for test in verdict.tests] == ["not worse", "not worse", "undecided"]
    assert "slots (0.0 points" in verdict.sentence
    assert "no margin is set" in verdict.sentence


def test_the_verdicts_tests_are_corrected_as_one_family(make_project):
    (verdict,) = report_on(make_project, merged=0.85).verdicts
    for name in ("p_difference", "p_not_worse", "p_equivalent"):
        raw = [getattr(test, name) for test in verdict.tests]
        assert [getattr(test, f"{name}_adjusted") for test in verdict.tests] == pytest.approx(holm(raw))


def test_a_task_that_both_systems_answer_by_one_bundle_is_no_test(make_project):
    groupings = {"single": "each", "pair": [["intent", "slots"], ["topic"]]}
    (verdict,) = report_on(make_project, merged=0.7, groupings=groupings).verdicts
    topic = next(test for test in verdict.tests if test.task == "topic")
    assert topic.shared
    assert topic.p_difference is None
    assert topic.outcome == "not worse"
    assert verdict.verdict == "keep apart"


def test_the_cheapest_system_not_worse_than_the_best_is_named(make_project):
    report = report_on(make_project, merged=0.9)
    economy = report.economy
    assert economy.cost == "usd_per_million_texts"
    costs = {row.name: row.usd_per_million_texts for row in report.systems}
    equal = ("encoder/merged", "encoder/single")
    assert economy.cheapest == min(equal, key=costs.__getitem__)
    assert economy.cheapest in economy.sentence
    best = report.systems[0].name
    assert {test.system for test in economy.tests} == {name for name, cost in costs.items() if cost < costs[best]}
    assert {test.outcome for test in economy.tests if test.system == "linear/single"} <= {"worse"}


def test_the_frontier_holds_each_system_that_none_beats_at_its_cost(make_project):
    report = report_on(make_project, merged=0.8)
    costs = {row.name: (row.usd_per_million_texts, row.ranked.value) for row in report.systems}
    for name, (cost, value) in costs.items():
        beaten = any(
            other != name and their_cost <= cost and their_value >= value and (their_cost, their_value) != (cost, value)
            for other, (their_cost, their_value) in costs.items()
        )
        assert (name in report.economy.frontier) == (not beaten)


def test_without_prices_the_cost_is_the_latency(make_project):
    report = report_on(make_project, merged=0.9, hardware={"cheap": {}})
    assert report.economy.cost == "p50_ms"
    costs = {row.name: row.speed.p50_ms for row in report.systems}
    assert report.economy.cheapest == min(("encoder/merged", "encoder/single"), key=costs.__getitem__)
    assert "ms" in report.economy.sentence
    assert "price of a million" not in render_html(report)


def test_html_and_markdown_tell_verdict_frontier_and_reliability(make_project):
    report = report_on(make_project, merged=0.9)
    html, markdown = render_html(report), render_markdown(report)
    for page in (html, markdown):
        assert "Merge or keep apart?" in page
        assert "encoder: merge" in page
    assert report.economy.cheapest in markdown
    assert html.count("price of a million texts, logarithmic") == 1
    assert html.count("median latency of one text, logarithmic") == 1
    assert html.count("the frontier: no other system") == (1 if len(report.economy.frontier) > 1 else 0)
    assert html.count('figure class="reliability"') == len(report.details)
    fullest = max(report.details[0].card.reliability, key=lambda found: found.count)
    assert f"{fullest.confidence * 100:.1f} % sure, {fullest.accuracy * 100:.1f} % right" in html


def test_margins_change_the_report_and_no_evaluation(make_project):
    project = make_project(evaluation={"resamples": 200, "latency_texts": 5})
    wider = project.changed(evaluation={"resamples": 200, "latency_texts": 5, "margins": {"accuracy": 0.2}})
    uris = project.evaluate_all(skill={"linear": 0.5, "encoder": 0.9})
    report = read_report(benchmark(wider.config, run="run-1", evaluations=uris))
    assert report.verdicts[0].tests[0].margin == 0.2
