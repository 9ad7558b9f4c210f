"""Is a run's best system one that was deployed before: served already, or rolled back since?

A scheduled run on unchanged data finds every job finished. If its best system is made of the very bundles that are
served, there is nothing to judge and nothing to deploy: it ends here, cheap, and without touching what works. If they
were rolled back, a person has said that they shall not be served, and only a person takes that back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from taskmix import storage
from taskmix.config.schema import Config
from taskmix.errors import StorageError
from taskmix.evaluation.checks import Check
from taskmix.evaluation.report.model import Report
from taskmix.modeling.rollbacks import ROLLED_BACK, Rollback, find_rollback
from taskmix.modeling.system import SystemRecord, parse_system_record


def nothing_new(report: Report, champion: SystemRecord | None) -> str | None:
    """One sentence on why the run brings nothing new, or None where it does.

    Nothing is new where the best system answers every task by the bundles that are served, byte for byte (their
    manifests' hashes), and would be served in the same way.

    Args:
        report: of the run.
        champion: the system now served; null at a first deployment.
    """
    if champion is None or champion.run is None:
        return None
    best = _best(report)
    if best.hashes != champion.hashes or not best.hashes:
        return None
    if _served_as(report.config.model_dump(mode="json")) != _config_of(report.config, champion.run):
        return None
    return (
        f"nothing new: the best system, {report.best.name}, is made of the bundles that are served since run "
        f"{champion.run}, and its deployment is configured as then"
    )


def check_rollbacks(report: Report, rollbacks: Sequence[Rollback]) -> list[Check]:
    """The best system may not be made of bundles that were rolled back, unless they were deployed again since.

    However it would be served: what made a person take it back is not known here.
    """
    found = find_rollback(_best(report), rollbacks)
    if found is None:
        return []
    evidence = (
        f"the best system, {report.best.name}, is made of the same bundles as {found.told}; no run deploys them again "
        f"by itself. If that shall be overruled: taskmix deploy CONFIG --run {report.run} --again"
    )
    return [Check(rule=ROLLED_BACK, passed=False, evidence=evidence)]


def _best(report: Report) -> SystemRecord:
    return parse_system_record(storage.read_json(report.best.record), uri=report.best.record)


def _config_of(config: Config, run: str) -> Any:
    """How the champion's run had its system served; None where that is no longer known."""
    try:
        return _served_as(storage.read_json(storage.join(config.storage, "runs", run, "config.json")))
    except StorageError:
        return None


def _served_as(config: Any) -> Any:
    """What decides how a system is served: the deployment, its hardware and the serving image."""
    if not isinstance(config, dict):
        return None
    deployment, images = config.get("deployment") or {}, config.get("images") or {}
    hardware = (config.get("hardware") or {}).get(deployment.get("hardware"))
    return {"deployment": deployment, "hardware": hardware, "image": images.get("serve")}
