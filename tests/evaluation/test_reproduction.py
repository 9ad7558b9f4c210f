"""Two runs of one configuration held side by side."""

from __future__ import annotations

import pytest

from taskmix.evaluation.gate import decide
from taskmix.evaluation.reproduction import compare_runs

EVALUATION = {"resamples": 100, "latency_texts": 5}


@pytest.fixture
def make_run(tmp_path, make_project_in):
    """Runs of the same configuration on storages of their own; the encoder's seed and skill are the test's."""

    def make(name: str, *, seed: int = 1, skill: float = 0.8, data_seed: int = 13) -> str:
        project = make_project_in(tmp_path / name)(evaluation=EVALUATION, seed=data_seed)
        report = project.benchmark("run-1", project.evaluate_all(skill={"linear": 0.3, "encoder": skill}, seed=seed))
        decide(report)
        return report.removesuffix("/report")

    return make


def outcomes(findings) -> dict[str, str]:
    return {finding.what: finding.outcome for finding in findings}


def test_the_same_weights_are_the_same_run_bit_for_bit(make_run):
    findings = compare_runs(make_run("first"), make_run("again"))
    best = next(finding for finding in findings if finding.what == "best system")
    assert best.outcome == "identical" or best.told.endswith("of equal score, ranked by speed")  # two systems tie
    assert {finding.outcome for finding in findings if finding is not best} == {"identical"}
    assert outcomes(findings).keys() >= {
        "data assistant",
        "weights encoder.intent+topic+slots",
        "answers linear.intent / intent",
        "span_f1 encoder/single / slots",
        "best system",
        "verdict on encoder/merged",
        "gate",
    }


def test_another_draw_of_equal_weights_lies_within_the_intervals(make_run):
    findings = compare_runs(make_run("first", skill=0.9), make_run("again", seed=5, skill=0.9))
    found = outcomes(findings)
    assert found["weights encoder.intent"] == "within"
    assert found["accuracy encoder/single / topic"] == "within", findings
    told = next(one.told for one in findings if one.what == "answers encoder.intent / intent")
    assert "of 120 texts get the same answer" in told


def test_a_score_outside_the_first_runs_interval_differs(make_run):
    found = outcomes(compare_runs(make_run("first", skill=0.9), make_run("again", skill=0.5)))
    assert found["accuracy encoder/single / intent"] == "differs"
    assert found["data assistant"] == "identical"


def test_other_data_are_told(make_run):
    findings = compare_runs(make_run("first"), make_run("again", data_seed=14))
    assert next(one for one in findings if one.what == "data assistant").told == "train, dev, test hold other rows"
    assert any(one.told == "on other texts" for one in findings)
