"""A run learns from new data when enough of it is new or drifted, and else from what the champion learned from."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from taskmix import storage
from taskmix.config.plan import make_plan
from taskmix.config.schema import Config
from taskmix.data.ingest import ingest, source_version
from taskmix.evaluation.report.model import read_report
from taskmix.evaluation.trigger import decide
from taskmix.modeling.answers import ClassificationAnswer
from taskmix.serving.releases import promote, stage

SKILL = {"linear": 0.9, "encoder": 0.6}


@pytest.fixture(scope="module")
def evaluated(make_shared_project):
    """A project whose best system is served, and the evaluations of its jobs."""
    made = make_shared_project(test_rows=60)
    evaluations = made.evaluate_all(skill=SKILL)
    report = made.benchmark("run-0", evaluations)
    made.decide(report)
    promote(stage(report, deployment="taskmix"))
    return made, evaluations


@pytest.fixture(scope="module")
def project(evaluated):
    return evaluated[0]


def told(project, **when):
    content = project.config.model_dump(mode="json")
    return Config.model_validate(content | {"schedule": {"cron": "0 0 2 * * 1", "retrain_when": when}})


def known(project) -> str:
    """URI of the version that the champion learned from."""
    (uri,) = project.datasets
    return uri


def fresh(project, *, seed: int = 13, **dataset) -> str:
    """Another version of the project's dataset."""
    (section,) = project.config.datasets.values()
    changed = project.changed(seed=seed, datasets={"assistant": section.model_dump() | dataset}).config
    slice = make_plan(changed).dataset_slice("assistant")
    return ingest(slice, storage=changed.storage, version=source_version(slice))


def test_unchanged_source_holds_still(project):
    decision = decide(told(project, min_new_rows=1), dataset="assistant", fresh=known(project), run="run-1")
    assert (decision.retrain, decision.uri, decision.new_rows) == (False, known(project), 0)
    written = storage.read_json(storage.join(project.config.storage, "runs", "run-1", "triggers", "assistant.json"))
    assert written == decision.model_dump(mode="json")
    assert written["reason"] == "the source has not changed"


def test_enough_new_rows_are_learned_from_and_fewer_are_not(project):
    version = fresh(project, seed=14)
    few = decide(told(project, min_new_rows=100_000), dataset="assistant", fresh=version, run="run-1")
    assert (few.retrain, few.uri) == (False, known(project))
    assert 0 < few.new_rows <= 300
    assert few.reason == f"{few.new_rows} of 300 rows are new, 100000 are needed"
    enough = decide(told(project, min_new_rows=few.new_rows), dataset="assistant", fresh=version, run="run-1")
    assert (enough.retrain, enough.uri) == (True, version)


def test_drifted_rows_are_learned_from_and_others_are_not(project):
    alike = decide(told(project, drift_psi=0.2), dataset="assistant", fresh=fresh(project, seed=14), run="run-1")
    assert not alike.retrain, alike.reason
    assert "nothing drifted by more than 0.2: most is" in alike.reason
    noisy = fresh(project, seed=14, noise=0.6)
    drifted = decide(told(project, drift_psi=0.2), dataset="assistant", fresh=noisy, run="run-1")
    assert (drifted.retrain, drifted.uri) == (True, noisy)
    assert "share of words of no other training text (PSI" in drifted.reason
    assert set(drifted.shifts) > {"intent labels", "topic labels", "slots labels", "words a text"}


def test_first_run_and_another_configuration_learn_from_what_there_is(project):
    version = fresh(project, seed=14)
    first = told(project.changed(deployment={"name": "other"}), min_new_rows=100_000)
    assert "no system is served yet" in decide(first, dataset="assistant", fresh=version, run="run-1").reason
    models = {"linear": {"kind": "linear", "regularization": [0.5]}}
    other = told(project.changed(models=models), min_new_rows=100_000)
    decision = decide(other, dataset="assistant", fresh=version, run="run-1")
    assert (decision.retrain, decision.uri) == (True, version)
    assert "jobs are others than those of run run-0" in decision.reason


def test_report_tells_what_was_learned_from_and_the_gate_finds_nothing_new(evaluated):
    project, evaluations = evaluated
    config = told(project, min_new_rows=100_000)
    held = project.changed(schedule=config.schedule.model_dump())
    decision = decide(held.config, dataset="assistant", fresh=fresh(project, seed=14), run="run-2")
    report = held.benchmark("run-2", evaluations)
    expected = f"Dataset assistant: the run learned from the version of the served system: {decision.reason}."
    assert read_report(report).remarks[0] == expected
    assert held.decide(report).nothing_new


def test_shift_of_the_served_systems_answers_counts_where_it_is_asked(project):
    asked: list[int] = []

    def ask(texts):
        """Answers by the time of asking: first the held-out texts, then the new ones."""
        asked.append(len(texts))
        label = "first" if len(asked) == 1 else "second"
        return [{"intent": ClassificationAnswer(label, 1.0, np.ones(1, dtype=np.float32))} for _ in texts]

    config = told(project, drift_psi=0.2, drift_texts=50)
    decision = decide(config, dataset="assistant", fresh=fresh(project, seed=14), run="run-3", ask=ask)
    assert asked == [50, 50]
    assert decision.retrain
    assert "intent answers (PSI" in decision.reason


def test_trigger_that_says_nothing_or_half_is_refused(project):
    with pytest.raises(ValidationError, match="says nothing; give min_new_rows, drift_psi or both"):
        told(project)
    with pytest.raises(ValidationError, match="has drift_texts without drift_psi"):
        told(project, min_new_rows=1, drift_texts=50)
