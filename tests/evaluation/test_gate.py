"""The gate accepts what the evidence supports, and tells the evidence."""

from __future__ import annotations

import pytest

from taskmix import storage
from taskmix.evaluation.gate import decide
from taskmix.evaluation.report.model import read_report
from taskmix.serving.releases import champion, promote, stage

SKILL = {"linear": 0.6, "encoder": 0.9}


def enthrone(report: str) -> None:
    """Deploy the best system of a run, as the pipeline does."""
    decide(report)
    promote(stage(report, deployment="taskmix"))


def served(project, *, skill: float = 0.85) -> None:
    """A champion of an earlier run, as good as `skill`."""
    earlier = project.benchmark("run-0", project.evaluate_all(skill={"linear": 0.5, "encoder": skill}, seed=2))
    enthrone(earlier)


def test_a_first_deployment_has_no_champion_and_says_so(project):
    verdict = decide(project.benchmark("run-1", project.evaluate_all(skill=SKILL)))
    assert verdict.accepted
    assert verdict.champion is None
    assert any("first deployment" in reason for reason in verdict.reasons)


def test_the_verdict_is_written_beside_the_report(project):
    verdict = decide(project.benchmark("run-1", project.evaluate_all(skill=SKILL)))
    written = storage.read_json(storage.join(project.config.storage, "runs", "run-1", "gate.json"))
    assert written == verdict.model_dump(mode="json")
    assert written["accepted"] is True


def test_a_task_below_its_minimum_is_refused_with_both_numbers(project):
    strict = project.changed(gate={"minimum": {"intent": 0.97, "topic": 0.5}})
    report = strict.benchmark("run-1", strict.evaluate_all(skill=SKILL))
    verdict = decide(report)
    value = read_report(report).best.tasks["intent"]["accuracy"].value
    assert not verdict.accepted
    assert f"is {value:.4f}, required is at least 0.9700" in verdict.reasons[0]
    assert [check.passed for check in verdict.checks if check.rule.startswith("minimum")] == [False, True]


def test_a_score_that_is_exactly_the_minimum_is_enough(project):
    evaluations = project.evaluate_all(skill=SKILL)
    value = read_report(project.benchmark("run-1", evaluations)).best.tasks["intent"]["accuracy"].value
    exact = project.changed(gate={"minimum": {"intent": value}})
    assert decide(exact.benchmark("run-2", evaluations)).accepted


def test_a_better_challenger_is_accepted_with_the_difference(project):
    served(project, skill=0.7)
    verdict = decide(project.benchmark("run-1", project.evaluate_all(skill=SKILL)))
    assert verdict.accepted
    assert verdict.champion in ("encoder/single", "encoder/merged")
    assert "on the same test data: difference +" in verdict.reasons[0]
    assert "95 % interval" in verdict.reasons[0]


def test_a_worse_challenger_is_refused(project):
    served(project, skill=0.97)
    verdict = decide(project.benchmark("run-1", project.evaluate_all(skill=SKILL)))
    assert not verdict.accepted
    assert "difference -" in verdict.reasons[0]


def test_the_champion_itself_may_be_deployed_again(project):
    evaluations = project.evaluate_all(skill=SKILL)
    enthrone(project.benchmark("run-1", evaluations))
    verdict = decide(project.benchmark("run-2", evaluations))
    assert verdict.accepted
    assert "difference +0.0000" in verdict.reasons[0]


def test_comparing_with_nothing_is_possible_and_told(project):
    served(project, skill=0.99)
    free = project.changed(gate={"must_not_lose_to": "nothing"})
    verdict = decide(free.benchmark("run-1", free.evaluate_all(skill=SKILL)))
    assert verdict.accepted
    assert "compares with nothing" in verdict.reasons[0]


def test_other_test_data_than_the_champions_is_not_compared_and_refused(make_project):
    served(make_project(test_rows=100), skill=0.5)
    now = make_project(test_rows=120)
    verdict = decide(now.benchmark("run-1", now.evaluate_all(skill=SKILL)))
    assert not verdict.accepted
    assert "the test data of intent, topic, slots changed since the champion" in verdict.reasons[0]
    assert "set gate.must_not_lose_to: nothing" in verdict.reasons[0]


def test_a_champion_that_does_not_answer_a_new_task_is_told(make_project):
    full = make_project()
    tasks = full.config.model_dump(mode="json")["tasks"]
    served(make_project(tasks={"intent": tasks["intent"]}), skill=0.5)
    verdict = decide(full.benchmark("run-1", full.evaluate_all(skill=SKILL)))
    assert not verdict.accepted
    assert "has no evaluation of topic, slots" in verdict.reasons[0]


def test_a_task_that_the_champion_knows_can_still_be_compared(make_project):
    full = make_project(gate={"rank_by": "intent"})
    tasks = full.config.model_dump(mode="json")["tasks"]
    served(make_project(tasks={"intent": tasks["intent"]}), skill=0.5)
    verdict = decide(full.benchmark("run-1", full.evaluate_all(skill=SKILL)))
    assert verdict.accepted, verdict.reasons
    assert "intent of" in verdict.reasons[0]


def test_lost_predictions_of_the_champion_are_told(project):
    served(project, skill=0.5)
    storage.delete_prefix(champion(project.config.storage, "taskmix")["record"]["bundles"][0]["evaluation"])
    verdict = decide(project.benchmark("run-1", project.evaluate_all(skill=SKILL)))
    assert not verdict.accepted
    assert "stored predictions cannot be read" in verdict.reasons[0]


@pytest.mark.parametrize("gate", [{"rank_by": "mean"}, {"rank_by": "slots"}])
def test_a_planted_loss_of_three_points_is_refused_and_an_equal_model_accepted(make_project, gate):
    """On 400 texts the encoder forgets 3 % more than the champion does, of the very texts that it knew."""
    project = make_project(test_rows=400, gate=gate)
    before = project.evaluate_all(skill={"linear": 0.2, "encoder": 0.90})
    enthrone(project.benchmark("run-0", before))
    assert decide(project.benchmark("run-1", before)).accepted
    worse = project.evaluate_all(skill={"linear": 0.2, "encoder": 0.87})
    assert not decide(project.benchmark("run-2", worse)).accepted


MARGINS = {"accuracy": 0.02, "span_f1": 0.02}


def with_margins(make_project, *, test_rows: int, **gate):
    evaluation = {"resamples": 1000, "latency_texts": 5, "margins": MARGINS}
    return make_project(test_rows=test_rows, evaluation=evaluation, gate=gate)


def evaluated(project, *, encoder: float, seed: int = 1) -> list[str]:
    return project.evaluate_all(skill={"linear": 0.2, "encoder": encoder}, seed=seed)


def test_with_margins_a_planted_loss_of_three_points_is_refused_and_an_equal_model_accepted(make_project):
    """A bundle that knows 0.3 % less is told from none; one that knows 3 % less is refused, whatever the ranking."""
    project = with_margins(make_project, test_rows=1200)
    enthrone(project.benchmark("run-0", evaluated(project, encoder=0.90)))
    equal = decide(project.benchmark("run-1", evaluated(project, encoder=0.897)))
    assert equal.accepted, equal.reasons
    assert sum("not worse by the margin" in reason for reason in equal.reasons) == 3
    worse = decide(project.benchmark("run-2", evaluated(project, encoder=0.87)))
    assert not worse.accepted
    assert "worse, difference \N{MINUS SIGN}" in worse.reasons[0]
    assert "p of no difference is < 0.001" in worse.reasons[0]


def test_too_few_texts_are_refused_with_the_smallest_margin_that_they_can_show(make_project):
    project = with_margins(make_project, test_rows=100)
    enthrone(project.benchmark("run-0", evaluated(project, encoder=0.90)))
    verdict = decide(project.benchmark("run-1", evaluated(project, encoder=0.90, seed=5)))
    assert not verdict.accepted
    assert "this test set is too small to tell" in verdict.reasons[0]
    assert "the smallest margin that it can show is" in verdict.reasons[0]


def test_the_champion_itself_may_be_deployed_again_whatever_the_margin(make_project):
    project = with_margins(make_project, test_rows=60)
    evaluations = evaluated(project, encoder=0.90)
    enthrone(project.benchmark("run-0", evaluations))
    verdict = decide(project.benchmark("run-1", evaluations))
    assert verdict.accepted
    assert all("the same bundle answers it in both" in reason for reason in verdict.reasons)


def test_without_a_margin_for_every_task_the_scores_alone_decide_and_that_is_told(make_project):
    project = make_project(evaluation={"resamples": 200, "latency_texts": 5, "margins": {"accuracy": 0.02}})
    enthrone(project.benchmark("run-0", evaluated(project, encoder=0.8)))
    verdict = decide(project.benchmark("run-1", evaluated(project, encoder=0.9)))
    assert verdict.accepted
    assert "so the scores alone decide" in verdict.reasons[0]


def test_the_interval_and_not_the_score_can_be_asked_to_reach_the_minimum(project):
    evaluations = project.evaluate_all(skill=SKILL)
    intent = read_report(project.benchmark("run-1", evaluations)).best.tasks["intent"]["accuracy"]
    between = (intent.value + intent.interval.low) / 2
    strict = project.changed(gate={"minimum": {"intent": between}, "minimum_by": "interval"})
    verdict = decide(strict.benchmark("run-2", evaluations))
    assert not verdict.accepted
    assert "this test set is too small to tell" in verdict.reasons[0]
    lower = project.changed(gate={"minimum": {"intent": intent.interval.low - 0.01}, "minimum_by": "interval"})
    assert decide(lower.benchmark("run-3", evaluations)).accepted


def test_calibration_and_latency_are_bounded_where_a_number_is_given(project):
    evaluations = project.evaluate_all(skill=SKILL)
    best = read_report(project.benchmark("run-1", evaluations)).best
    assert [check.rule for check in decide(project.benchmark("run-1", evaluations)).checks] == ["champion"]
    tight = project.changed(gate={"maximum_ece": 0.001, "maximum_p99_ms": best.speed.p99_ms / 2})
    refused = decide(tight.benchmark("run-2", evaluations))
    failed = {check.rule: check.evidence for check in refused.checks if not check.passed}
    assert set(failed) == {"calibration intent", "calibration topic", "calibration slots", "latency"}
    assert f"is {best.tasks['intent']['ece'].value:.4f}, allowed is at most 0.0010" in failed["calibration intent"]
    assert "allowed is at most" in failed["latency"]
    wide = project.changed(gate={"maximum_ece": 0.9, "maximum_p99_ms": best.speed.p99_ms})
    assert decide(wide.benchmark("run-3", evaluations)).accepted


def test_the_champions_labels_are_looked_at_where_a_number_is_given(make_project):
    project = with_margins(make_project, test_rows=400, maximum_label_drop=0.3)
    enthrone(project.benchmark("run-0", evaluated(project, encoder=0.95)))
    same = decide(project.benchmark("run-1", evaluated(project, encoder=0.949)))
    assert next(check for check in same.checks if check.rule == "labels").passed
    lost = decide(project.benchmark("run-2", evaluated(project, encoder=0.3)))
    labels = next(check for check in lost.checks if check.rule == "labels")
    assert not labels.passed
    assert "points of its recall" in labels.evidence
