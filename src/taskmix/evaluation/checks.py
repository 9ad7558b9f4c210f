"""The gate's rules on the best system alone: minimum scores, calibration, latency. Against the champion: `champion`.

A rule that needs a number is off until the configuration gives it, and then gives no check.
"""

from __future__ import annotations

from taskmix.config.schema import Section
from taskmix.evaluation.report.figures import milliseconds
from taskmix.evaluation.report.model import Report

EQUAL = 1e-9
"""Scores closer than this are equal: they come of sums of floats."""


class Opponent(Section):
    """A bundle of the champion, with the answers of it that a rule compared with."""

    job: str
    """`<model>.<block>`."""
    tasks: tuple[str, ...]
    """All that the bundle answers."""
    bundle: str
    """URI."""
    manifest: str
    """sha256 of the bundle's manifest."""
    evaluation: str
    """URI of the answers."""
    evaluation_manifest: str
    """sha256 of the evaluation's manifest."""
    again: bool
    """The gate asked the bundle for them, on this run's test data."""


class Check(Section):
    """What one rule came to."""

    rule: str
    passed: bool
    evidence: str
    """One sentence with the numbers."""
    opponents: tuple[Opponent, ...] = ()
    """Whose answers it compares with, where they are not of this run."""


def check_minimum(report: Report) -> list[Check]:
    """`gate.minimum`: each task's primary score, or its interval's low end, must reach its least value."""
    return [_reaches(report, task, least) for task, least in report.config.gate.minimum.items()]


def check_calibration(report: Report) -> list[Check]:
    """`gate.maximum_ece`: no task's expected calibration error may lie above it."""
    most = report.config.gate.maximum_ece
    if most is None:
        return []
    checks = []
    for task, scores in report.best.deployed.items():
        value = scores["ece"].value
        found = "undefined" if value is None else f"{value:.4f}"
        evidence = (
            f"expected calibration error of {report.best.name} on {task} is {found}, allowed is at most {most:.4f}"
        )
        passed = value is not None and value <= most + EQUAL
        checks.append(Check(rule=f"calibration {task}", passed=passed, evidence=evidence))
    return checks


def check_latency(report: Report) -> list[Check]:
    """`gate.maximum_p99_ms`: the 99th percentile of a text's time may not lie above it."""
    most = report.config.gate.maximum_p99_ms
    if most is None:
        return []
    found, machine = report.best.speed.p99_ms, next(job.machine for job in report.jobs if job.name in report.best.jobs)
    evidence = (
        f"99 % of texts take {report.best.name} at most {milliseconds(found)} one by one on {machine['processor']} "
        f"({machine['device']}), allowed is at most {milliseconds(most)}"
    )
    return [Check(rule="latency", passed=found <= most, evidence=evidence)]


def _reaches(report: Report, task: str, least: float) -> Check:
    name = report.primary[task]
    score = report.best.deployed[task][name]
    found = "undefined" if score.value is None else f"{score.value:.4f}"
    evidence = f"{name} of {report.best.name} is {found}, required is at least {least:.4f}"
    passed = score.value is not None and score.value >= least - EQUAL
    if passed and report.config.gate.minimum_by == "interval":
        low = score.interval.low if score.interval else None
        told = "has no interval" if low is None else f"has an interval that begins at {low:.4f}"
        passed = low is not None and low >= least - EQUAL
        too_few = "" if passed else f"; {report.config.gate.minimum_by} decides, and this test set is too small to tell"
        evidence = f"{name} of {report.best.name} is {found} and {told}, required is at least {least:.4f}{too_few}"
    return Check(rule=f"minimum {task}", passed=passed, evidence=evidence)
