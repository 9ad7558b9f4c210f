"""Is a run's best system the one that is served already? Then there is nothing to judge and nothing to deploy.

A scheduled run on unchanged data finds every job finished, and its best system is made of the very bundles that are
served. It ends here: cheap, and without touching what works.
"""

from __future__ import annotations

from typing import Any

from taskmix import storage
from taskmix.config.schema import Config
from taskmix.errors import StorageError
from taskmix.evaluation.report.model import Report
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
    best = parse_system_record(storage.read_json(report.best.record), uri=report.best.record)
    if _bundles(best) != _bundles(champion) or not _bundles(best):
        return None
    if _served_as(report.config.model_dump(mode="json")) != _config_of(report.config, champion.run):
        return None
    return (
        f"nothing new: the best system, {report.best.name}, is made of the bundles that are served since run "
        f"{champion.run}, and its deployment is configured as then"
    )


def _bundles(system: SystemRecord) -> set[tuple[str, tuple[str, ...]]]:
    """Each bundle's hash with what is asked of it; empty where a record vouches for none of its bundles' bytes."""
    if any(bundle.manifest is None for bundle in system.bundles):
        return set()
    return {(str(bundle.manifest), tuple(sorted(bundle.tasks or ()))) for bundle in system.bundles}


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
