"""The gate accepts what the evidence supports, and tells the evidence."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from taskmix import storage
from taskmix.errors import DataError, ServingError
from taskmix.evaluation.gate import decide, read_verdict
from taskmix.evaluation.report.model import read_report
from taskmix.evaluation.scorecard import read_evaluation
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


def otherwise_deployed(project):
    """The same project with another deployment, so that its best system is worth deploying again."""
    return project.changed(deployment={"canary_percent": 50})


def test_a_best_system_that_is_served_already_is_nothing_new(project):
    evaluations = project.evaluate_all(skill=SKILL)
    enthrone(project.benchmark("run-1", evaluations))
    verdict = decide(project.benchmark("run-2", evaluations))
    assert (verdict.accepted, verdict.nothing_new, verdict.checks) == (False, True, ())
    (reason,) = verdict.reasons
    assert re.fullmatch(
        r"nothing new: .*, encoder/\w+, is made of the bundles that are served since run run-1, .*", reason
    )
    assert read_verdict(verdict.report) == verdict
    with pytest.raises(ServingError, match=r"did not accept.*nothing new"):
        stage(verdict.report, deployment="taskmix")


def test_the_champion_itself_may_be_deployed_again_in_another_way(project):
    evaluations = project.evaluate_all(skill=SKILL)
    enthrone(project.benchmark("run-1", evaluations))
    verdict = decide(otherwise_deployed(project).benchmark("run-2", evaluations))
    assert verdict.accepted
    assert not verdict.nothing_new
    assert "difference +0.0000" in verdict.reasons[0]


def test_a_champion_whose_run_is_gone_is_judged_anew(project):
    evaluations = project.evaluate_all(skill=SKILL)
    enthrone(project.benchmark("run-1", evaluations))
    Path(project.config.storage, "runs", "run-1", "config.json").unlink()
    assert decide(project.benchmark("run-2", evaluations)).accepted


def test_comparing_with_nothing_is_possible_and_told(project):
    served(project, skill=0.99)
    free = project.changed(gate={"must_not_lose_to": "nothing"})
    verdict = decide(free.benchmark("run-1", free.evaluate_all(skill=SKILL)))
    assert verdict.accepted
    assert "compares with nothing" in verdict.reasons[0]


def test_a_champion_of_other_test_data_is_asked_again_on_these(make_project):
    """What is compared then is what both come to on the new texts, whatever the champion scored on the old ones."""
    served(make_project(test_rows=100), skill=0.97)
    now = make_project(test_rows=120)
    verdict = now.decide(now.benchmark("run-1", now.evaluate_all(skill=SKILL)))
    assert not verdict.accepted
    assert "on the same test data: difference -" in verdict.reasons[0]
    again = next(check for check in verdict.checks if check.rule == "champion evaluated again")
    assert "on intent, topic, slots are lost or not of this run's test data" in again.evidence


def test_a_worse_champion_of_other_test_data_is_beaten_with_margins_too(make_project):
    served(with_margins(make_project, test_rows=100), skill=0.6)
    now = with_margins(make_project, test_rows=300)
    verdict = now.decide(now.benchmark("run-1", now.evaluate_all(skill=SKILL)))
    assert verdict.accepted, verdict.reasons
    assert sum("on 300 texts" in check.evidence for check in verdict.checks) == 3


def test_asking_the_champion_again_is_done_once(make_project):
    served(make_project(test_rows=100), skill=0.7)
    now = make_project(test_rows=120)
    report = now.benchmark("run-1", now.evaluate_all(skill=SKILL))
    first = now.decide(report)
    before = list(storage.list_objects(now.config.storage))
    assert now.decide(report) == first
    after = list(storage.list_objects(now.config.storage))
    assert [info.key for info in after] == [info.key for info in before]


def test_a_champion_whose_bundle_was_replaced_is_not_asked(make_project):
    served(make_project(test_rows=100), skill=0.5)
    bundle = champion(make_project().config.storage, "taskmix")["record"]["bundles"][0]["uri"]
    manifest = Path(bundle, "MANIFEST.json")
    manifest.write_text(manifest.read_text() + "\n")
    now = make_project(test_rows=120)
    verdict = now.decide(now.benchmark("run-1", now.evaluate_all(skill=SKILL)))
    assert not verdict.accepted
    assert "is no longer the one that is on record" in verdict.reasons[0]
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


def test_lost_predictions_of_the_champion_are_made_again_while_its_bundle_is_there(project):
    served(project, skill=0.5)
    bundles = champion(project.config.storage, "taskmix")["record"]["bundles"]
    storage.delete_prefix(bundles[0]["evaluation"])
    report = project.benchmark("run-1", project.evaluate_all(skill=SKILL))
    assert project.decide(report).accepted
    storage.delete_prefix(bundles[0]["evaluation"])
    storage.delete_prefix(bundles[0]["uri"])
    verdict = project.decide(report)
    assert not verdict.accepted
    assert "cannot be evaluated on this run's test data" in verdict.reasons[0]


def pinned_of(project, *, wrong: bool = False) -> list[dict[str, str]]:
    """Test texts that the best system of `SKILL` answers rightly, or wrongly."""
    report = read_report(project.benchmark("run-pins", project.evaluate_all(skill=SKILL)))
    uri = next(job.evaluation for job in report.jobs if job.name in report.best.jobs and "intent" in job.tasks)
    found = read_evaluation(uri).predictions["intent"]
    chosen = [index for index, right in enumerate(found.right) if right != wrong][:3]
    return [{"text": found.examples.texts[index], "task": "intent", "label": found.gold[index]} for index in chosen]


def test_pinned_examples_must_stay_right_and_each_failure_is_told(project):
    right, wrong = pinned_of(project), pinned_of(project, wrong=True)
    evaluations = project.evaluate_all(skill=SKILL)
    kept = project.changed(gate={"regression_set": right})
    verdict = kept.decide(kept.benchmark("run-1", evaluations))
    assert verdict.accepted
    assert (
        "answers 3 of 3 pinned examples rightly"
        in next(c for c in verdict.checks if c.rule == "regression set").evidence
    )
    lost = project.changed(gate={"regression_set": [*right, *wrong[:2]]})
    verdict = lost.decide(lost.benchmark("run-2", evaluations))
    assert not verdict.accepted
    assert "answers 3 of 5 pinned examples rightly" in verdict.reasons[0]
    for at, example in enumerate(wrong[:2], start=3):
        assert f'gate.regression_set[{at}] "{example["text"]}": intent is answered ' in verdict.reasons[0]
        assert f"must be {example['label']}" in verdict.reasons[0]


def test_pinned_examples_may_lie_in_a_file_and_texts_may_be_withheld(project, tmp_path):
    path = tmp_path / "pinned.jsonl"
    wrong = pinned_of(project, wrong=True)
    path.write_text("".join(json.dumps(example) + "\n" for example in wrong))
    quiet = project.changed(gate={"regression_set": str(path)}, report={"texts": "redact"})
    verdict = quiet.decide(quiet.benchmark("run-1", project.evaluate_all(skill=SKILL)))
    assert not verdict.accepted
    assert f"{path} line 2: intent is answered" in verdict.reasons[0]
    assert all(example["text"] not in reason for example in wrong for reason in verdict.reasons)
    lineage = storage.read_json(storage.join(project.config.storage, "runs", "run-1", "lineage.json"))
    assert lineage["entity"]["taskmix:sources/regression set"]["taskmix:origin"] == str(path)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('{"text": "a", "task": "intnt", "label": "b"}', "line 1: task 'intnt' is not one of"),
        ('{"text": "a", "task": "intent"}', "line 1: 'label': Field required"),
        ('{"text": "a", "task": "intent", "label": "no_such"}', "line 1: no_such is no label of task 'intent'"),
        ('{"text": "a b", "task": "slots", "label": "a [time : c]"}', "line 1: the label without its brackets"),
        ("[]", "line 1: is a JSON list"),
    ],
)
def test_a_pinned_example_that_cannot_be_right_is_a_fault_and_no_failure(project, tmp_path, line, told):
    path = tmp_path / "pinned.jsonl"
    path.write_text(line + "\n")
    changed = project.changed(gate={"regression_set": str(path)})
    report = changed.benchmark("run-1", changed.evaluate_all(skill=SKILL))
    with pytest.raises(DataError, match=re.escape(told)):
        changed.decide(report)


@pytest.mark.parametrize("gate", [{"rank_by": "mean"}, {"rank_by": "slots"}])
def test_a_planted_loss_of_three_points_is_refused_and_an_equal_model_accepted(make_project, gate):
    """On 400 texts the encoder forgets 3 % more than the champion does, of the very texts that it knew."""
    project = make_project(test_rows=400, gate=gate)
    before = project.evaluate_all(skill={"linear": 0.2, "encoder": 0.90})
    enthrone(project.benchmark("run-0", before))
    assert decide(otherwise_deployed(project).benchmark("run-1", before)).accepted
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
    verdict = decide(otherwise_deployed(project).benchmark("run-1", evaluations))
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
