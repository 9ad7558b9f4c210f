"""Records of what is, was and may be served: plain JSON below `<storage>/deployments/<name>/`.

A release (`history/<run>.json`) is a run's winner, staged: the system's own record with its scores. The champion
(`champion.json`) is the release now served, with the one before it inside. Nothing is served from a release until the
smoke test has passed and `promote` has made it the champion. Locking against a second run that promotes at the same
moment is the cluster's part (later).

    release:  {format, deployment, run, report, system, record, rank_by, scores}
    champion: a release, and {release, promoted, previous}
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any

from taskmix import storage
from taskmix.errors import Corrupt, NotFound, ServingError
from taskmix.modeling.system import CHAMPION_FILE, parse_system_record

log = logging.getLogger(__name__)

FORMAT = 1


def stage(report: str, *, deployment: str, run: str | None = None) -> str:
    """Write the release of a run whose gate has accepted a system; staging it again changes nothing.

    Args:
        report: URI of the run's report, `<storage>/runs/<run>/report`.
        deployment: the deployment's name.
        run: the run's id; null takes it from `report`.

    Returns:
        URI of the release.

    Raises:
        ServingError: the gate has not accepted the system, or `report` is no report's URI.
        NotFound: report, verdict or the system's record is not there.
        AlreadyExists: the run has staged another system before.
    """
    root, of_run = _root_and_run(report)
    summary = storage.read_json(storage.join(report, "report.json"))
    verdict = _verdict(storage.join(root, "runs", of_run, "gate.json"))
    try:
        row = next(row for row in summary["systems"] if row["name"] == verdict["system"])
        served = _served_record(row["record"], summary["config"]["deployment"])
        record = storage.read_json(served)
        scores = {"mean": row["mean"]["value"]}
        scores |= {task: by_name[summary["primary"][task]]["value"] for task, by_name in row["tasks"].items()}
        rank_by = summary["config"]["gate"]["rank_by"]
    except (KeyError, TypeError, StopIteration) as error:
        raise Corrupt(
            f"{storage.redact(report)}: has no complete line for the system '{verdict['system']}' ({error}), which "
            "the gate accepted; run the pipeline again"
        ) from None
    parse_system_record(record, uri=served)
    release = storage.join(root, "deployments", deployment, "history", f"{run or of_run}.json")
    value = {
        "format": FORMAT,
        "deployment": deployment,
        "run": run or of_run,
        "report": report,
        "system": verdict["system"],
        "record": record,
        "rank_by": rank_by,
        "scores": scores,
    }
    storage.write_json(release, value)
    log.info("staged release=%s system=%s", release, verdict["system"])
    return release


def promote(release: str) -> str:
    """Make a release the champion, the champion before it kept inside; promoting the champion changes nothing.

    Returns:
        URI of the champion's record.

    Raises:
        NotFound: there is no such release.
        Corrupt: it is no release.
    """
    record = read_release(release)
    uri = storage.join(release.rpartition("/history/")[0], CHAMPION_FILE)
    served = _read_champion(uri)
    if served and served["release"] == release:
        log.info("promoted before release=%s", release)
        return uri
    previous = {key: value for key, value in served.items() if key != "previous"} if served else None
    promoted = datetime.now(UTC).isoformat(timespec="seconds")
    champion = {**record, "release": release, "promoted": promoted, "previous": previous}
    storage.write_json(uri, champion, replace=True)
    log.info("promoted release=%s system=%s", release, record["system"])
    return uri


def champion(root: str, deployment: str) -> dict[str, Any] | None:
    """The record of the system that is served under a deployment's name, or null if there is none yet.

    Args:
        root: the storage of the configuration.
        deployment: the deployment's name.
    """
    return _read_champion(storage.join(root, "deployments", deployment, CHAMPION_FILE))


def read_release(release: str) -> dict[str, Any]:
    """The content of a release.

    Raises:
        NotFound: it is not there.
        Corrupt: it is no release.
    """
    return _checked(storage.read_json(release), uri=release, keys=("deployment", "run", "system", "record"))


def _read_champion(uri: str) -> dict[str, Any] | None:
    try:
        value = storage.read_json(uri)
    except NotFound:
        return None
    return _checked(value, uri=uri, keys=("deployment", "release", "system", "record"))


def _checked(value: Any, *, uri: str, keys: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(value, dict) or value.get("format") != FORMAT or any(key not in value for key in keys):
        raise Corrupt(
            f"{storage.redact(uri)}: is no record of format {FORMAT} with {', '.join(keys)}; "
            "use the version of taskmix that wrote it, or deploy again"
        )
    return value


def _root_and_run(report: str) -> tuple[str, str]:
    """The storage's root and the run's id in `<storage>/runs/<run>/report`."""
    head, _, last = report.rstrip("/").rpartition("/")
    head, _, run = head.rpartition("/")
    root, _, runs = head.rpartition("/")
    if last != "report" or runs != "runs" or not run or not root:
        raise ServingError(f"{storage.redact(report)}: is no report; give <storage>/runs/<run>/report")
    return root, run


def _served_record(record: str, deployment: dict[str, Any]) -> str:
    """URI of the record that is deployed: the system's own, or that of its export for the configured backend."""
    backend = deployment.get("backend", "torch")
    if backend == "torch":
        return record
    folder, _, name = record.rpartition("/systems/")
    return storage.join(folder, "exports", f"{name.removesuffix('.json')}.{backend}.json")


def _verdict(uri: str) -> dict[str, Any]:
    try:
        verdict = storage.read_json(uri)
    except NotFound:
        raise ServingError(f"{storage.redact(uri)}: is not there: the gate has not decided; run it first") from None
    if not isinstance(verdict, dict) or not isinstance(verdict.get("system"), str):
        raise Corrupt(f"{storage.redact(uri)}: is no verdict of the gate; run the gate again")
    if verdict.get("accepted") is not True:
        reasons = "; ".join(str(reason) for reason in verdict.get("reasons") or ["no reason given"])
        raise ServingError(f"{storage.redact(uri)}: the gate did not accept '{verdict['system']}': {reasons}")
    return verdict
