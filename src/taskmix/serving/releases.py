"""Records of what is, was and may be served: plain JSON below `<storage>/deployments/<name>/`.

A release (`history/<run>.json`) is a run's winner, staged: the system's own record with its scores. The champion
(`champion.json`) is the release now served, with the one before it inside. Nothing is served from a release until the
smoke test has passed and `promote` has made it the champion. A release names the run whose champion the gate compared
it with; once another has been promoted, what the gate found no longer holds, and `promote` refuses. On a cluster a
Lease keeps two runs from promoting at the same moment (`cluster.lease`).

    release:  {format, deployment, run, report, system, record, rank_by, scores, challenged}
    champion: a release, and {release, promoted, previous, served, rollbacks}

The champion's record remembers what was rolled back (`modeling.rollbacks`), from champion to champion; `promote`
refuses the same bundles until it is told `again`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from taskmix import storage
from taskmix.errors import Corrupt, NotFound, RolledBack, ServingError, Superseded
from taskmix.modeling.rollbacks import (
    ROLLED_BACK,
    Rollback,
    as_record,
    find_rollback,
    overrule,
    rollbacks_in,
    sign,
    without_rollbacks,
)
from taskmix.modeling.system import CHAMPION_FILE, parse_system_record

log = logging.getLogger(__name__)

FORMAT = 1


def stage(report: str, *, deployment: str, run: str | None = None, again: bool = False) -> str:
    """Write the release of a run whose gate has accepted a system; staging it again changes nothing.

    Args:
        report: URI of the run's report, `<storage>/runs/<run>/report`.
        deployment: the deployment's name.
        run: the run's id; null takes it from `report`.
        again: stage it too where the gate refused it for nothing but that its bundles were rolled back.

    Returns:
        URI of the release.

    Raises:
        ServingError: the gate has not accepted the system, or `report` is no report's URI.
        NotFound: report, verdict or the system's record is not there.
        AlreadyExists: the run has staged another system before.
    """
    root, of_run = _root_and_run(report)
    summary = storage.read_json(storage.join(report, "report.json"))
    verdict = _verdict(storage.join(root, "runs", of_run, "gate.json"), again=again)
    before = champion(root, deployment)
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
        "challenged": verdict.get("champion_run", _run_of(before)),
    }
    if storage.exists(release):  # staged before: the champion may have changed since, which `promote` will find
        value["challenged"] = read_release(release).get("challenged")
    storage.write_json(release, value)
    log.info("staged release=%s system=%s", release, verdict["system"])
    return release


def promote(release: str, *, served: dict[str, Any] | None = None, again: bool = False) -> str:
    """Make a release the champion, the champion before it kept inside; promoting the champion changes nothing.

    Args:
        release: URI of the release.
        served: where it is served, for people and for rolling back; null on a laptop.
        again: though its bundles were rolled back; that rollback stands no longer then.

    Returns:
        URI of the champion's record.

    Raises:
        NotFound: there is no such release.
        Corrupt: it is no release.
        RolledBack: its bundles were rolled back.
        Superseded: the champion is not the one any more that the gate compared the release with.
    """
    record = read_release(release)
    uri = champion_uri(release)
    before = read_champion(uri)
    if before and before["release"] == release:
        log.info("promoted before release=%s", release)
        return uri
    check_promotable(record, before, release=release, again=again)
    previous = {key: value for key, value in without_rollbacks(before).items() if key != "previous"} if before else None
    rollbacks = overrule(parse_system_record(record, uri=release), _rollbacks(before, release=release))
    _write_champion(uri, record, rollbacks, release=release, previous=previous, served=served)
    log.info("promoted release=%s system=%s", release, record["system"])
    return uri


def check_promotable(
    record: dict[str, Any], served: dict[str, Any] | None, *, release: str, again: bool = False
) -> None:
    """Make sure that a release may take the place of what is served.

    Args:
        record: the release's content.
        served: the champion's, or null.
        release: URI of the release.
        again: it may though its bundles were rolled back.

    Raises:
        RolledBack: its bundles were rolled back.
        Superseded: the champion is not the one any more that the gate compared the release with.
    """
    found = find_rollback(parse_system_record(record, uri=release), _rollbacks(served, release=release))
    if found is not None and not again:
        raise RolledBack(
            f"{storage.redact(release)}: is made of the same bundles as {found.told}; it is not deployed again by "
            f"itself. If it shall be: taskmix deploy CONFIG --run {record['run']} --again"
        )
    if "challenged" not in record or record["challenged"] == _run_of(served):
        return
    compared = f"the champion of run {record['challenged']}" if record["challenged"] else "no champion"
    now = f"that of run {_run_of(served)}" if served else "none"
    raise Superseded(
        f"{storage.redact(release)}: the gate compared it with {compared}, but the champion now is {now}: another run "
        "was faster. It is not promoted; run the pipeline again, which reuses all that is finished and compares anew"
    )


def previous_release(root: str, deployment: str) -> str:
    """URI of the release that a rollback returns to: the champion before the one now served.

    Raises:
        ServingError: there is none.
    """
    served = champion(root, deployment)
    where = storage.redact(storage.join(root, "deployments", deployment, CHAMPION_FILE))
    if served is None:
        raise ServingError(f"{where}: is not there: nothing has been deployed under this name; check --storage")
    if not served["previous"]:
        raise ServingError(f"{where}: names no previous champion, so there is nothing to return to; deploy another run")
    return str(served["previous"]["release"])


def roll_back(release: str, *, served: dict[str, Any] | None = None) -> str:
    """Make the previous champion, whose release is `release`, the champion again.

    Its own predecessor, where its release names one, becomes the previous champion: so one can go back further. The one
    that is left is remembered as rolled back.

    Returns:
        URI of the champion's record.

    Raises:
        Superseded: it is not the previous champion (any more).
    """
    record, uri = read_release(release), champion_uri(release)
    left = read_champion(uri)
    if left is None or not left["previous"] or left["previous"]["release"] != release:
        raise Superseded(
            f"{storage.redact(uri)}: the previous champion is not {storage.redact(release)} any more; look again"
        )
    before = (
        storage.join(release.rpartition("/")[0], f"{record['challenged']}.json") if record.get("challenged") else None
    )
    previous = {**read_release(before), "release": before} if before and storage.exists(before) else None
    left_system = parse_system_record(left, uri=uri)
    rollback = Rollback(run=str(left["run"]), release=left["release"], system=left_system, done=sign())
    rollbacks = [*_rollbacks(left, release=release), rollback]
    _write_champion(uri, record, rollbacks, release=release, previous=previous, served=served)
    log.info("rolled back to release=%s from=%s", release, left["release"])
    return uri


def champion_uri(release: str) -> str:
    """URI of the record of the champion of a release's deployment."""
    return storage.join(release.rpartition("/history/")[0], CHAMPION_FILE)


def champion(root: str, deployment: str) -> dict[str, Any] | None:
    """The record of the system that is served under a deployment's name, or null if there is none yet.

    Args:
        root: the storage of the configuration.
        deployment: the deployment's name.
    """
    return read_champion(storage.join(root, "deployments", deployment, CHAMPION_FILE))


def read_release(release: str) -> dict[str, Any]:
    """The content of a release.

    Raises:
        NotFound: it is not there.
        Corrupt: it is no release.
    """
    return _checked(storage.read_json(release), uri=release, keys=("deployment", "run", "system", "record"))


def _write_champion(uri: str, record: dict[str, Any], rollbacks: Sequence[Rollback], **more: Any) -> None:
    promoted = datetime.now(UTC).isoformat(timespec="seconds")
    storage.write_json(uri, {**record, "promoted": promoted, **more, **as_record(rollbacks)}, replace=True)


def _rollbacks(served: dict[str, Any] | None, *, release: str) -> tuple[Rollback, ...]:
    return rollbacks_in(served, uri=storage.redact(champion_uri(release)))


def _run_of(served: dict[str, Any] | None) -> str | None:
    """The run that a champion's system comes from, as the gate tells it."""
    return served["record"].get("run") or served["run"] if served else None


def read_champion(uri: str) -> dict[str, Any] | None:
    """The champion in the record at `uri`, or null if there is none yet.

    Raises:
        Corrupt: the record is not one of a champion.
    """
    try:
        value = storage.read_json(uri)
    except NotFound:
        return None
    return _checked(value, uri=uri, keys=("deployment", "release", "system", "record", "previous"))


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


def _verdict(uri: str, *, again: bool) -> dict[str, Any]:
    try:
        verdict = storage.read_json(uri)
    except NotFound:
        raise ServingError(f"{storage.redact(uri)}: is not there: the gate has not decided; run it first") from None
    if not isinstance(verdict, dict) or not isinstance(verdict.get("system"), str):
        raise Corrupt(f"{storage.redact(uri)}: is no verdict of the gate; run the gate again")
    failed = {check["rule"] for check in verdict.get("checks", ()) if not check["passed"]}
    if verdict.get("accepted") is not True and not (again and failed == {ROLLED_BACK}):
        reasons = "; ".join(str(reason) for reason in verdict.get("reasons") or ["no reason given"])
        raise ServingError(f"{storage.redact(uri)}: the gate did not accept '{verdict['system']}': {reasons}")
    return verdict
