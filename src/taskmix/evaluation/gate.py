"""May the best system of a run be deployed? Rules, each told with its evidence; the verdict goes to `gate.json`.

A rule takes the case and gives checks; the verdict accepts when every check passed. The rules stand in `checks` (the
best system's numbers), `regression` (its answers to pinned examples), `champion` (against what is served) and `novelty`
(against what was rolled back).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from taskmix import storage
from taskmix.config.schema import Section
from taskmix.evaluation.champion import check_champion
from taskmix.evaluation.checks import Check, check_calibration, check_latency, check_minimum
from taskmix.evaluation.evaluate import LoadModel
from taskmix.evaluation.lineage import GATE_FILE, write_lineage
from taskmix.evaluation.novelty import check_rollbacks, nothing_new
from taskmix.evaluation.regression import check_regression
from taskmix.evaluation.report.model import Report, read_report
from taskmix.modeling.bundle import load_model
from taskmix.modeling.rollbacks import Rollback, rollbacks_in
from taskmix.modeling.system import CHAMPION_FILE, SystemRecord, read_system_record

log = logging.getLogger(__name__)


class Verdict(Section):
    """The gate's decision, the content of `gate.json`."""

    accepted: bool
    system: str
    """The best system, which may be deployed or not."""
    nothing_new: bool = False
    """The best system is what is served already, so it was not judged and need not be deployed: not accepted either."""
    reasons: tuple[str, ...]
    """Every check in one sentence, the failed ones first."""
    checks: tuple[Check, ...]
    champion: str | None
    """The system now served; null at a first deployment."""
    champion_run: str | None = None
    """The run that it comes from. Only where it still does may the best system take its place."""
    report: str


@dataclass(frozen=True)
class Case:
    """What a rule judges by.

    Attributes:
        report: of the run.
        champion: the system now served; null at a first deployment.
        load: makes a model of the local folder of a bundle, for rules that ask anew.
        rollbacks: of the deployment, oldest first.
    """

    report: Report
    champion: SystemRecord | None
    load: LoadModel
    rollbacks: tuple[Rollback, ...] = ()


Rule = Callable[[Case], list[Check]]


def decide(report: str, *, load: LoadModel = load_model) -> Verdict:
    """Judge the best system of a report, and write the verdict to `gate.json` beside the report's folder.

    The run's lineage is written again, with the verdict in it.

    Args:
        report: URI of the report, `<storage>/runs/<run>/report`.
        load: makes a model of the local folder of a bundle.

    Raises:
        NotFound: there is no report.
        DataError: the regression set cannot be right.
        Corrupt: the champion's record, or predictions, are not what they must be.
    """
    content = read_report(report)
    champion = read_champion(content)
    idle = nothing_new(content, champion)
    case = Case(content, champion, load, _read_rollbacks(content))
    checks = [] if idle else [check for rule in RULES for check in rule(case)]
    ordered = sorted(checks, key=lambda check: check.passed)
    told = [f"{'passed' if check.passed else 'FAILED'} {check.rule}: {check.evidence}" for check in ordered]
    verdict = Verdict(
        accepted=not idle and all(check.passed for check in checks),
        system=content.best.name,
        nothing_new=idle is not None,
        reasons=tuple([idle] if idle else told),
        checks=tuple(checks),
        champion=champion.name if champion else None,
        champion_run=champion.run if champion else None,
        report=report,
    )
    uri = storage.join(content.config.storage, "runs", content.run, GATE_FILE)
    storage.write_json(uri, verdict.model_dump(mode="json"), replace=True)
    write_lineage(report)
    log.info("gate accepted=%s nothing_new=%s system=%s", verdict.accepted, verdict.nothing_new, verdict.system)
    return verdict


def read_verdict(report: str) -> Verdict:
    """The verdict on the run of a report.

    Raises:
        NotFound: the gate has not decided.
    """
    return Verdict.model_validate(storage.read_json(storage.join(report.rpartition("/")[0], GATE_FILE)))


def read_champion(report: Report) -> SystemRecord | None:
    """The record of the system that is served under the deployment's name; null before the first deployment."""
    uri = _champion_uri(report)
    return read_system_record(uri) if storage.exists(uri) else None


def _read_rollbacks(report: Report) -> tuple[Rollback, ...]:
    uri = _champion_uri(report)
    return rollbacks_in(storage.read_json(uri), uri=storage.redact(uri)) if storage.exists(uri) else ()


def _champion_uri(report: Report) -> str:
    return storage.join(report.config.storage, "deployments", report.config.deployment.name, CHAMPION_FILE)


RULES: tuple[Rule, ...] = (
    lambda case: check_rollbacks(case.report, case.rollbacks),
    lambda case: check_minimum(case.report),
    lambda case: check_champion(case.report, case.champion, load=case.load),
    lambda case: check_regression(case.report, case.load),
    lambda case: check_calibration(case.report),
    lambda case: check_latency(case.report),
)
