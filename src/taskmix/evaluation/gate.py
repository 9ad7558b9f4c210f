"""May the best system of a run be deployed? Rules, each told with its evidence; the verdict goes to `gate.json`.

A rule takes the report and gives checks; the verdict accepts when every check passed. What the champion is worth is
computed from its stored predictions, on the same resamples as the challenger's, never from a remembered number.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from taskmix import storage
from taskmix.config.plan import EvaluationSlice
from taskmix.config.schema import Section
from taskmix.errors import Incomplete, NotFound
from taskmix.evaluation.leaderboard import MEAN, difference, score_answers
from taskmix.evaluation.report.model import Report, read_report
from taskmix.evaluation.scorecard import Evaluated, read_evaluation
from taskmix.modeling.system import SystemRecord, read_system_record

log = logging.getLogger(__name__)

EQUAL = 1e-9
"""Scores closer than this are equal: they come of sums of floats."""


class Check(Section):
    """What one rule came to."""

    rule: str
    passed: bool
    evidence: str
    """One sentence with the numbers."""


class Verdict(Section):
    """The gate's decision, the content of `gate.json`."""

    accepted: bool
    system: str
    """The best system, which may be deployed or not."""
    reasons: tuple[str, ...]
    """Every check in one sentence, the failed ones first."""
    checks: tuple[Check, ...]
    champion: str | None
    """The system now served; null at a first deployment."""
    report: str


Rule = Callable[[Report, SystemRecord | None], list[Check]]


def decide(report: str) -> Verdict:
    """Judge the best system of a report, and write the verdict to `gate.json` beside the report's folder.

    Args:
        report: URI of the report, `<storage>/runs/<run>/report`.

    Raises:
        NotFound: there is no report.
        Corrupt: the champion's record, or predictions, are not what they must be.
    """
    content = read_report(report)
    champion = read_champion(content)
    checks = [check for rule in RULES for check in rule(content, champion)]
    ordered = sorted(checks, key=lambda check: check.passed)
    verdict = Verdict(
        accepted=all(check.passed for check in checks),
        system=content.best.name,
        reasons=tuple(f"{'passed' if check.passed else 'FAILED'} {check.rule}: {check.evidence}" for check in ordered),
        checks=tuple(checks),
        champion=champion.name if champion else None,
        report=report,
    )
    uri = storage.join(content.config.storage, "runs", content.run, "gate.json")
    storage.write_json(uri, verdict.model_dump(mode="json"), replace=True)
    log.info("gate accepted=%s system=%s", verdict.accepted, verdict.system)
    return verdict


def read_champion(report: Report) -> SystemRecord | None:
    """The record of the system that is served under the deployment's name; null before the first deployment."""
    deployment = report.config.deployment.name
    uri = storage.join(report.config.storage, "deployments", deployment, "champion.json")
    return read_system_record(uri) if storage.exists(uri) else None


def check_minimum(report: Report, champion: SystemRecord | None) -> list[Check]:
    """`gate.minimum`: each task's primary score must reach its least value."""
    checks = []
    for task, least in report.config.gate.minimum.items():
        name = report.primary[task]
        value = report.best.tasks[task][name].value
        found = "undefined" if value is None else f"{value:.4f}"
        passed = value is not None and value >= least - EQUAL
        evidence = f"{name} of {report.best.name} is {found}, required is at least {least:.4f}"
        checks.append(Check(rule=f"minimum {task}", passed=passed, evidence=evidence))
    return checks


def check_champion(report: Report, champion: SystemRecord | None) -> list[Check]:
    """`gate.must_not_lose_to`: the score ranked by may not be below the champion's on the same test data."""
    gate, deployment = report.config.gate, report.config.deployment.name
    rule = "champion"
    if gate.must_not_lose_to == "nothing":
        return [Check(rule=rule, passed=True, evidence="the configuration compares with nothing")]
    if champion is None:
        evidence = (
            f"no system is deployed as '{deployment}' yet, so there is no champion to lose to: a first deployment"
        )
        return [Check(rule=rule, passed=True, evidence=evidence)]
    tasks = list(report.primary) if gate.rank_by == MEAN else [gate.rank_by]
    ours = {task: row.evaluation for row in report.jobs if row.name in report.best.jobs for task in row.tasks}
    theirs = {task: part.evaluation for part in champion.bundles if part.evaluation for task in part.tasks or ()}
    if missing := [task for task in tasks if task not in theirs]:
        return [_cannot(f"the champion {champion.name} has no evaluation of {', '.join(missing)}")]
    try:
        known = {uri: read_evaluation(uri) for uri in {theirs[task] for task in tasks}}
    except (NotFound, Incomplete) as error:
        return [_cannot(f"the champion's stored predictions cannot be read ({error})")]
    challenger = {uri: read_evaluation(uri) for uri in {ours[task] for task in tasks}}
    return [
        _compare(
            report,
            champion,
            ours={task: challenger[ours[task]] for task in tasks},
            theirs={task: known[theirs[task]] for task in tasks},
        )
    ]


RULES: tuple[Rule, ...] = (check_minimum, check_champion)


def _compare(
    report: Report, champion: SystemRecord, *, ours: Mapping[str, Evaluated], theirs: Mapping[str, Evaluated]
) -> Check:
    changed = [task for task in ours if _test_data(ours[task], task) != _test_data(theirs[task], task)]
    if changed:
        return _cannot(
            f"the test data of {', '.join(changed)} changed since the champion {champion.name} was evaluated, so the "
            "scores do not compare"
        )
    by = report.config.gate.rank_by
    slice = EvaluationSlice(seed=report.config.seed, evaluation=report.config.evaluation)
    challenger, served = score_answers(ours, slice=slice), score_answers(theirs, slice=slice)
    value, found = difference(challenger, served, score=by)
    if value is None:
        return _cannot(f"the score '{by}' is undefined for {report.best.name} or for the champion {champion.name}")
    within = f", {found.confidence * 100:g} % interval {found.low:+.4f} to {found.high:+.4f}" if found else ""
    evidence = (
        f"{by} of {report.best.name} is {challenger.scores[by].value:.4f}, of the champion {champion.name} "
        f"{served.scores[by].value:.4f} on the same test data: difference {value:+.4f}{within}"
    )
    return Check(rule="champion", passed=value >= -EQUAL, evidence=evidence)


def _cannot(why: str) -> Check:
    remedy = "evaluate the champion's jobs on this data, or set gate.must_not_lose_to: nothing for one run"
    return Check(rule="champion", passed=False, evidence=f"{why}; {remedy}")


def _test_data(evaluated: Evaluated, task: str) -> tuple[str, int]:
    card = evaluated.scorecard.tasks[task]
    return card.test_data, card.test_rows
