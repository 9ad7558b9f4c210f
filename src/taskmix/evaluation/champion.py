"""The gate's rules against the champion: no task worse by more than its margin, no label lost.

What the champion is worth is computed from its predictions, on the same texts and resamples as the challenger's, never
from a remembered number. Where the test data changed since, or its stored predictions are lost, its bundles answer this
run's test data. Where that cannot be done the challenger is refused, with what to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from taskmix import storage
from taskmix.config.plan import make_plan
from taskmix.errors import BundleError, EvaluationError, Incomplete, NotFound
from taskmix.evaluation.checks import EQUAL, Check, Opponent
from taskmix.evaluation.comparisons import Contestant, compare_family
from taskmix.evaluation.evaluate import LoadModel, evaluate
from taskmix.evaluation.labels import check_labels
from taskmix.evaluation.report.figures import interval_points, p_value, points, points_apart
from taskmix.evaluation.report.model import PairedTest, Report
from taskmix.evaluation.scorecard import Evaluated, read_evaluation
from taskmix.evaluation.system_scores import MEAN, difference, score_answers
from taskmix.modeling.system import BundleRecord, SystemRecord

RULE = "champion"


@dataclass(frozen=True)
class _Duel:
    """The challenger and the champion on the tasks that are compared.

    Attributes:
        challenger: this run's best.
        champion: what is served.
        opponents: each task to the champion's bundle that answers it.
    """

    challenger: Contestant
    champion: Contestant
    opponents: Mapping[str, Opponent]

    @property
    def renewed(self) -> list[str]:
        """Tasks that the champion was asked again, as its stored predictions are of other test data or lost."""
        return [task for task, opponent in self.opponents.items() if opponent.again]


class _CannotCompare(Exception):
    """Why challenger and champion cannot be compared; becomes a failed check, never leaves this module."""


def check_champion(report: Report, champion: SystemRecord | None, *, load: LoadModel) -> list[Check]:
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
        duel = _arrange(report, champion, load=load)
    except _CannotCompare as why:
        return [_cannot(str(why))]
    checks = _not_worse(report, duel) if _has_margins(report, duel) else [_not_below(report, duel)]
    if duel.renewed:
        evidence = (
            f"the stored predictions of the champion {champion.name} on {', '.join(duel.renewed)} are lost or not of "
            "this run's test data, so its bundles were asked again, on the very texts of the challenger"
        )
        checks.append(Check(rule=f"{RULE} evaluated again", passed=True, evidence=evidence))
    if gate.maximum_label_drop is not None:
        alpha, most = 1 - report.config.evaluation.confidence, gate.maximum_label_drop
        checks.append(check_labels(duel.challenger, duel.champion, most=most, alpha=alpha))
    return checks


def _arrange(report: Report, champion: SystemRecord, *, load: LoadModel) -> _Duel:
    """The predictions of both on every task that both answer.

    Raises:
        _CannotCompare: the champion's are not to be had.
    """
    gate = report.config.gate
    needed = list(report.primary) if gate.rank_by == MEAN else [gate.rank_by]
    ours = {task: row.evaluation for row in report.jobs if row.name in report.best.jobs for task in row.tasks}
    theirs = {task: part for part in champion.bundles if part.evaluation for task in part.tasks or ()}
    if missing := [task for task in needed if task not in theirs]:
        raise _CannotCompare(f"the champion {champion.name} has no evaluation of {', '.join(missing)}")
    tasks = [task for task in report.primary if task in theirs]
    own = {uri: read_evaluation(uri) for uri in {ours[task] for task in tasks}}
    first = {task: own[ours[task]] for task in tasks}
    parts = {task: theirs[task] for task in tasks}
    second, renewed = _champions_answers(report, parts, like=first, load=load)
    slice = make_plan(report.config).evaluation_slice()
    return _Duel(
        Contestant(report.best.name, first, score_answers(first, slice=slice)),
        Contestant(champion.name, second, score_answers(second, slice=slice)),
        {task: _opponent(part, second[task], again=task in renewed) for task, part in parts.items()},
    )


def _opponent(part: BundleRecord, answers: Evaluated, *, again: bool) -> Opponent:
    job = answers.scorecard.job
    return Opponent(
        job=job.name,
        tasks=job.tasks,
        bundle=part.uri,
        manifest=job.manifest,
        evaluation=answers.uri,
        evaluation_manifest=storage.read_manifest(answers.uri).sha256,
        again=again,
    )


def _champions_answers(
    report: Report, parts: Mapping[str, BundleRecord], *, like: Mapping[str, Evaluated], load: LoadModel
) -> tuple[dict[str, Evaluated], tuple[str, ...]]:
    """The champion's predictions on the test data of `like`, and the tasks that it had to be asked again."""
    stored = {part.uri: _stored(part) for part in parts.values()}

    def fits(task: str) -> bool:
        known = stored[parts[task].uri]
        return known is not None and _test_data(known, task) == _test_data(like[task], task)

    renewed = tuple(task for task in parts if not fits(task))
    anew = {uri: _evaluate_again(report, uri, parts, load) for uri in {parts[task].uri for task in renewed}}
    found: dict[str, Evaluated] = {}
    for task, part in parts.items():
        known = anew[part.uri] if part.uri in anew else stored[part.uri]
        assert known is not None
        if _test_data(known, task) != _test_data(like[task], task):
            raise _CannotCompare(f"the test data of {task} is not the same for champion and challenger")
        found[task] = known
    return found, renewed


def _stored(part: BundleRecord) -> Evaluated | None:
    """The evaluation that a champion's record names; null where it is lost or of a format that is no longer read."""
    assert part.evaluation is not None
    try:
        return read_evaluation(part.evaluation)
    except (NotFound, Incomplete, EvaluationError):
        return None


def _evaluate_again(report: Report, uri: str, parts: Mapping[str, BundleRecord], load: LoadModel) -> Evaluated:
    """Let a bundle of the champion answer this run's test data; what that comes to is kept beside the bundle."""
    part = next(one for one in parts.values() if one.uri == uri)
    try:
        manifest = storage.read_manifest(uri).sha256
        if part.manifest not in (None, manifest):
            raise _CannotCompare(f"the champion's bundle {storage.redact(uri)} is no longer the one that is on record")
        datasets = [dataset.uri for dataset in report.datasets]
        slice = make_plan(report.config).evaluation_slice()
        return read_evaluation(evaluate(uri.rpartition("/")[0], slice=slice, datasets=datasets, load=load))
    except (NotFound, Incomplete, EvaluationError, BundleError) as error:
        raise _CannotCompare(f"the champion cannot be evaluated on this run's test data ({error})") from error


def _has_margins(report: Report, duel: _Duel) -> bool:
    return all(report.primary[task] in report.config.evaluation.margins for task in duel.challenger.answers)


def _not_worse(report: Report, duel: _Duel) -> list[Check]:
    """Non-inferiority on every task; all must pass, so none is corrected (intersection-union test, Berger 1982)."""
    checks = []
    for task in duel.challenger.answers:
        (test,) = compare_family([(duel.challenger, duel.champion, task)], config=report.config)
        passed, opponents = test.outcome == "not worse", (duel.opponents[task],)
        checks.append(Check(rule=f"{RULE} {task}", passed=passed, evidence=_evidence(test), opponents=opponents))
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
    opponents = tuple(dict.fromkeys(duel.opponents.values()))
    return Check(rule=RULE, passed=value >= -EQUAL, evidence=evidence, opponents=opponents)


def _cannot(why: str) -> Check:
    remedy = "mend that, or set gate.must_not_lose_to: nothing for one run"
    return Check(rule=RULE, passed=False, evidence=f"{why}; {remedy}")


def _test_data(evaluated: Evaluated, task: str) -> tuple[str, int]:
    card = evaluated.scorecard.tasks[task]
    return card.test_data, card.test_rows
