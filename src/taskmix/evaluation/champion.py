"""The gate's rules against the champion: no task worse by more than its margin, no label lost.

What the champion is worth is computed from its stored predictions, on the same texts and resamples as the challenger's,
never from a remembered number. Where that cannot be done the challenger is refused, with what to do.
"""

from __future__ import annotations

from dataclasses import dataclass

from taskmix.config.plan import EvaluationSlice
from taskmix.errors import Incomplete, NotFound
from taskmix.evaluation.checks import EQUAL, Check
from taskmix.evaluation.comparisons import Contestant, compare_family
from taskmix.evaluation.labels import check_labels
from taskmix.evaluation.report.figures import interval_points, p_value, points, points_apart
from taskmix.evaluation.report.model import PairedTest, Report
from taskmix.evaluation.scorecard import Evaluated, read_evaluation
from taskmix.evaluation.system_scores import MEAN, difference, score_answers
from taskmix.modeling.system import SystemRecord

RULE = "champion"


@dataclass(frozen=True)
class _Duel:
    """The challenger and the champion on the tasks that are compared."""

    challenger: Contestant
    champion: Contestant


class _CannotCompare(Exception):
    """Why challenger and champion cannot be compared; becomes a failed check, never leaves this module."""


def check_champion(report: Report, champion: SystemRecord | None) -> list[Check]:
    """`gate.must_not_lose_to` and `gate.maximum_label_drop`, against the system now served."""
    gate, deployment = report.config.gate, report.config.deployment.name
    if gate.must_not_lose_to == "nothing":
        return [Check(rule=RULE, passed=True, evidence="the configuration compares with nothing")]
    if champion is None:
        evidence = (
            f"no system is deployed as '{deployment}' yet, so there is no champion to lose to: a first deployment"
        )
        return [Check(rule=RULE, passed=True, evidence=evidence)]
    try:
        duel = _arrange(report, champion)
    except _CannotCompare as why:
        return [_cannot(str(why))]
    checks = _not_worse(report, duel) if _has_margins(report, duel) else [_not_below(report, duel)]
    if gate.maximum_label_drop is not None:
        alpha, most = 1 - report.config.evaluation.confidence, gate.maximum_label_drop
        checks.append(check_labels(duel.challenger, duel.champion, most=most, alpha=alpha))
    return checks


def _arrange(report: Report, champion: SystemRecord) -> _Duel:
    """Read the stored predictions of both on every task that both answer.

    Raises:
        _CannotCompare: the champion's are not there, or of other test data.
    """
    gate = report.config.gate
    needed = list(report.primary) if gate.rank_by == MEAN else [gate.rank_by]
    ours = {task: row.evaluation for row in report.jobs if row.name in report.best.jobs for task in row.tasks}
    theirs = {task: part.evaluation for part in champion.bundles if part.evaluation for task in part.tasks or ()}
    if missing := [task for task in needed if task not in theirs]:
        raise _CannotCompare(f"the champion {champion.name} has no evaluation of {', '.join(missing)}")
    tasks = [task for task in report.primary if task in theirs]
    try:
        known = {uri: read_evaluation(uri) for uri in {theirs[task] for task in tasks}}
    except (NotFound, Incomplete) as error:
        raise _CannotCompare(f"the champion's stored predictions cannot be read ({error})") from error
    own = {uri: read_evaluation(uri) for uri in {ours[task] for task in tasks}}
    first = {task: own[ours[task]] for task in tasks}
    second = {task: known[theirs[task]] for task in tasks}
    if changed := [task for task in tasks if _test_data(first[task], task) != _test_data(second[task], task)]:
        raise _CannotCompare(
            f"the test data of {', '.join(changed)} changed since the champion {champion.name} was evaluated, so the "
            "scores do not compare"
        )
    slice = EvaluationSlice(seed=report.config.seed, evaluation=report.config.evaluation)
    return _Duel(
        Contestant(report.best.name, first, score_answers(first, slice=slice)),
        Contestant(champion.name, second, score_answers(second, slice=slice)),
    )


def _has_margins(report: Report, duel: _Duel) -> bool:
    return all(report.primary[task] in report.config.evaluation.margins for task in duel.challenger.answers)


def _not_worse(report: Report, duel: _Duel) -> list[Check]:
    """Non-inferiority on every task; all must pass, so none is corrected (intersection-union test, Berger 1982)."""
    checks = []
    for task in duel.challenger.answers:
        (test,) = compare_family([(duel.challenger, duel.champion, task)], config=report.config)
        checks.append(Check(rule=f"{RULE} {task}", passed=test.outcome == "not worse", evidence=_evidence(test)))
    return checks


def _evidence(test: PairedTest) -> str:
    pair = f"{test.score} of {test.system} on {test.task} against the champion {test.against}"
    if test.shared:
        return f"{pair}: the same bundle answers it in both, difference +0.0000"
    if test.difference is None:
        return f"{pair}: the test data leaves the score undefined, so nothing can be shown"
    counts = "" if test.gained is None else f", {test.gained} gained and {test.lost} lost"
    interval = interval_points(test.interval) or "no interval"
    found = (
        f"difference {points(test.difference)} points ({interval}) on {test.texts} texts{counts}; p of a loss of the "
        f"margin of {points_apart(test.margin)} or more is {p_value(test.p_not_worse)}"
    )
    if test.outcome == "not worse":
        return f"{pair}: not worse by the margin, {found}"
    if test.outcome == "worse":
        return f"{pair}: worse, {found}, and p of no difference is {p_value(test.p_difference)}"
    return (
        f"{pair}: this test set is too small to tell, {found}; the smallest margin that it can show is "
        f"{points_apart(test.detectable_margin)}: test on more texts, or set a wider margin before the next run"
    )


def _not_below(report: Report, duel: _Duel) -> Check:
    """Without margins: the score ranked by may not be below the champion's, whatever the doubt."""
    by = report.config.gate.rank_by
    ours, theirs = duel.challenger.scores, duel.champion.scores
    value, found = difference(ours, theirs, score=by)
    if value is None:
        return _cannot(f"the score '{by}' is undefined for {report.best.name} or for the champion {duel.champion.name}")
    within = f", {found.confidence * 100:g} % interval {found.low:+.4f} to {found.high:+.4f}" if found else ""
    evidence = (
        f"{by} of {report.best.name} is {ours.scores[by].value:.4f}, of the champion {duel.champion.name} "
        f"{theirs.scores[by].value:.4f} on the same test data: difference {value:+.4f}{within}; evaluation.margins has "
        "no margin for some task's score, so the scores alone decide"
    )
    return Check(rule=RULE, passed=value >= -EQUAL, evidence=evidence)


def _cannot(why: str) -> Check:
    remedy = "evaluate the champion's jobs on this data, or set gate.must_not_lose_to: nothing for one run"
    return Check(rule=RULE, passed=False, evidence=f"{why}; {remedy}")


def _test_data(evaluated: Evaluated, task: str) -> tuple[str, int]:
    card = evaluated.scorecard.tasks[task]
    return card.test_data, card.test_rows
