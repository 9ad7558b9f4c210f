"""A run whose best system was deployed before: served already (`test_gate` too), or rolled back since."""

from __future__ import annotations

import re

import pytest

from taskmix.errors import ServingError
from taskmix.evaluation.gate import decide
from taskmix.evaluation.history import read_history
from taskmix.serving.releases import promote, roll_back, stage

SKILLS = {"good": 0.85, "better": 0.95}


def deployed(report: str) -> str:
    """The release of a run's best system, promoted."""
    decide(report)
    release = stage(report, deployment="taskmix")
    promote(release)
    return release


def test_a_system_that_was_rolled_back_is_refused_until_a_person_deploys_it_again(project):
    evaluated = {name: project.evaluate_all(skill={"linear": 0.3, "encoder": skill}) for name, skill in SKILLS.items()}
    first = deployed(project.benchmark("run-1", evaluated["good"]))
    deployed(project.benchmark("run-2", evaluated["better"]))
    roll_back(first)

    report = project.benchmark("run-3", evaluated["better"])  # as a schedule does, on data that have not changed
    verdict = decide(report)

    assert (verdict.accepted, verdict.nothing_new) == (False, False)
    assert [check.rule for check in verdict.checks if not check.passed] == ["rolled back"]
    assert len(verdict.checks) > 1, "the other rules are asked too: a person who overrules must know what they say"
    assert "made of the same bundles as encoder/" in verdict.reasons[0]
    assert "of run run-2, which was rolled back on " in verdict.reasons[0]
    assert verdict.reasons[0].endswith("taskmix deploy CONFIG --run run-3 --again")
    with pytest.raises(ServingError, match=r"the gate did not accept .*: FAILED rolled back: "):
        stage(report, deployment="taskmix")
    standing = [line.standing for line in read_history(project.config.storage).runs]
    assert (standing[0], standing[2]) == ("served now", "")
    assert re.fullmatch(r"rolled back \S+ by \S+@\S+", standing[1])

    promote(stage(report, deployment="taskmix", again=True), again=True)

    assert decide(project.benchmark("run-4", evaluated["better"])).nothing_new
    assert [line.standing for line in read_history(project.config.storage).runs] == [
        "was released",
        "was released",
        "served now",
        "",
    ]


def test_no_other_refusal_is_overruled(project):
    evaluated = {name: project.evaluate_all(skill={"linear": 0.3, "encoder": skill}) for name, skill in SKILLS.items()}
    first = deployed(project.benchmark("run-1", evaluated["good"]))
    deployed(project.benchmark("run-2", evaluated["better"]))
    roll_back(first)
    strict = project.changed(gate={"minimum": {"intent": 0.999}})
    report = strict.benchmark("run-3", evaluated["better"])
    assert {check.rule for check in decide(report).checks if not check.passed} == {"rolled back", "minimum intent"}

    with pytest.raises(ServingError, match="the gate did not accept"):
        stage(report, deployment="taskmix", again=True)
