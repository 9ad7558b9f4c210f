"""Rolling a release out: a canary first, asked what evaluation was asked, then promoted, or taken back.

Whatever goes wrong, also SIGTERM, ends with the users on what they were served before. The InferenceService names the
deployer who may change it: one that was overtaken unknowingly stops at his next change.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from taskmix.cluster import inference_service as shape
from taskmix.cluster.asking import find_addresses, open_client, wait_for_version
from taskmix.cluster.connection import Cluster, Object
from taskmix.cluster.inference_service import Wanted
from taskmix.cluster.kinds import INFERENCE_SERVICE
from taskmix.cluster.lease import Lease
from taskmix.cluster.readiness import Patience, Target, find_progress, wait_until_ready
from taskmix.errors import Absent, ClusterError, Conflict, RolloutFailed, Superseded
from taskmix.modeling.system import parse_system_record
from taskmix.serving.releases import read_release
from taskmix.serving.smoke import compare_served
from taskmix.storage import read_manifest

log = logging.getLogger(__name__)

CANDIDATE = "candidate"


@dataclass(frozen=True)
class Rollout:
    """What one rollout needs.

    Attributes:
        cluster: where.
        wanted: the release.
        lease: the lock, held.
        poll_s: between two looks at the cluster.
    """

    cluster: Cluster
    wanted: Wanted
    lease: Lease
    poll_s: float = 2.0

    @property
    def patience(self) -> Patience:
        """For one release to get ready."""
        return Patience(self.wanted.settings.deployment.ready_timeout_s, self.poll_s)

    def target(self, *, canary: bool) -> Target:
        """The release as a canary, or as all that is served."""
        way, knative = self.wanted.way, self.wanted.mode == "Knative"
        variant = self.wanted.variant if way == "entries" else None
        if canary and way == "candidate":
            return Target(self.cluster, f"{self.wanted.name}-{CANDIDATE}", None, variant, knative)
        return Target(self.cluster, self.wanted.name, way if canary else None, variant, knative)

    def edit(self, change: Callable[[Object], Object]) -> Object:
        """Change the InferenceService, as long as it is ours to change.

        Raises:
            Superseded: another deployer has taken it, or it was deleted.
        """

        def ours(service: Object) -> Object:
            deployer = shape.notes_of(service).get(shape.DEPLOYER)
            if deployer != self.lease.holder:
                raise Superseded(
                    f"InferenceService {self.wanted.name} in namespace {self.cluster.namespace}: is being deployed by "
                    f"{deployer}, which has overtaken this run; nothing more is changed, run it again"
                )
            return change(service)

        try:
            return self.cluster.edit(INFERENCE_SERVICE, self.wanted.name, ours)
        except Absent as error:
            raise Superseded(f"{error}: it was deleted while this run deployed to it; run it again") from None


def roll_out(rollout: Rollout) -> Object:
    """Serve the release to all, by way of a canary.

    Returns:
        The InferenceService as it serves then.

    Raises:
        RolloutFailed: the release did not get ready; what was served before is served still.
        ServingError: it answered otherwise than it was evaluated; likewise.
        Superseded: another run deploys.
    """
    existing = rollout.cluster.find(INFERENCE_SERVICE, rollout.wanted.name)
    if existing is None:
        return _first(rollout)
    if shape.serves(existing, rollout.wanted):
        log.info("served before service=%s release=%s", rollout.wanted.name, rollout.wanted.release)
        return confirm(rollout, canary=False)
    existing = _take(rollout)
    before, release = shape.stable_predictor(existing), shape.notes_of(existing).get(shape.RELEASE)
    if rollout.wanted.way == "entries" and shape.is_same_model(existing, rollout.wanted):
        # A canary is told apart by its model, whose name and folder it would share with what is served.
        return replace_stable(rollout, before=before, release=release)
    with _taken_back(lambda interrupted: _withdraw(rollout, before, release, interrupted=interrupted)):
        _let_in(rollout, existing)
        confirm(rollout, canary=True)
        _watch(rollout)
        rollout.lease.check()
    return replace_stable(rollout, before=before, release=release)


def replace_stable(rollout: Rollout, *, before: Object, release: str | None) -> Object:
    """Make the release the only one that is served, or return to the predictor of before.

    Args:
        rollout: of the release.
        before: the predictor that is served now.
        release: that it serves, where it is known.
    """

    def give_back(_: bool) -> None:
        rollout.edit(lambda service: shape.returned(service, before, release=release))

    with _taken_back(give_back):
        rollout.edit(lambda service: shape.promoted(service, rollout.wanted))
        service = confirm(rollout, canary=False)
    if rollout.wanted.way == "candidate":
        rollout.cluster.delete(INFERENCE_SERVICE, rollout.target(canary=True).name)
    log.info("promoted service=%s release=%s", rollout.wanted.name, rollout.wanted.release)
    return service


def take_over(rollout: Rollout) -> Object:
    """Write this deployer's name on the InferenceService: who still changes it under another name stops.

    Raises:
        Superseded: there is no InferenceService.
    """
    return _take(rollout)


def _take(rollout: Rollout) -> Object:
    name = rollout.wanted.name
    try:
        return rollout.cluster.edit(INFERENCE_SERVICE, name, lambda each: shape.taken_by(each, rollout.lease.holder))
    except Absent as error:
        raise Superseded(f"{error}: deploy a run") from None


def _first(rollout: Rollout) -> Object:
    """Serve the release where nothing was served: nobody can be sent to it before it is ready."""
    try:
        rollout.cluster.create(INFERENCE_SERVICE, shape.new_service(rollout.wanted, deployer=rollout.lease.holder))
    except Conflict as error:
        raise Superseded(f"{error}: another has made it in between; run it again") from None
    with _taken_back(lambda _: rollout.cluster.delete(INFERENCE_SERVICE, rollout.wanted.name)):
        return confirm(rollout, canary=False)


def _let_in(rollout: Rollout, existing: Object) -> None:
    wanted = rollout.wanted
    log.info("canary service=%s way=%s percent=%d", wanted.name, wanted.way, wanted.settings.deployment.canary_percent)
    if wanted.way != "candidate":
        rollout.edit(lambda service: shape.with_canary(service, wanted))
        return
    if wanted.settings.deployment.canary_percent:
        log.warning(
            "service=%s: this KServe cannot share requests out in Standard mode (0.20 can): the release is tested "
            "without users first, then all are sent to it",
            wanted.name,
        )
    candidate = rollout.target(canary=True).name
    rollout.cluster.delete(INFERENCE_SERVICE, candidate)  # what a run that was killed has left
    rollout.cluster.create(INFERENCE_SERVICE, shape.new_service(wanted, deployer=rollout.lease.holder, name=candidate))


def confirm(rollout: Rollout, *, canary: bool) -> Object:
    """Wait until the release is ready, and compare its answers with the evaluated ones, through its real URL."""
    target, gateway = rollout.target(canary=canary), rollout.wanted.settings.deployment.gateway
    service = wait_until_ready(target, rollout.patience)
    record = read_release(rollout.wanted.release)
    bundles = parse_system_record(record["record"], uri=rollout.wanted.release).bundles
    manifests = [bundle.manifest or read_manifest(bundle.uri).sha256 for bundle in bundles]
    addresses = find_addresses(target, service)
    address = wait_for_version(
        addresses, name=target.name, manifests=manifests, gateway=gateway, patience=rollout.patience
    )
    with open_client(address, gateway=gateway) as client:
        compare_served(client, name=target.name, release=rollout.wanted.release)
    return service


def _watch(rollout: Rollout) -> None:
    """Let the canary have its share for a while; it must stay ready.

    Raises:
        RolloutFailed: it did not.
    """
    deployment = rollout.wanted.settings.deployment
    if not deployment.canary_percent or rollout.wanted.way == "candidate":
        return
    target, deadline_s = rollout.target(canary=True), time.monotonic() + deployment.canary_s
    while time.monotonic() < deadline_s:
        time.sleep(min(rollout.poll_s, deployment.canary_s))
        progress = find_progress(target, rollout.cluster.get(INFERENCE_SERVICE, target.name))
        if progress.waits_for:
            raise RolloutFailed(
                f"InferenceService {target.name} in namespace {target.cluster.namespace}: the canary was ready and is "
                f"no longer, with {deployment.canary_percent} % of the requests: it waits for {progress.waits_for}"
            )


def _withdraw(rollout: Rollout, before: Object, release: str | None, *, interrupted: bool) -> None:
    """Take the canary back; first what keeps users from it."""
    match rollout.wanted.way:
        case "candidate":
            rollout.cluster.delete(INFERENCE_SERVICE, rollout.target(canary=True).name)
        case "entries":
            rollout.edit(lambda service: shape.returned(service, before, release=release))
        case "knative":
            # The old predictor becomes a new revision: until it is ready, none of the requests may go to the newest.
            rollout.edit(shape.dark)
            rollout.edit(lambda service: shape.dark(shape.returned(service, before, release=release)))
            if not interrupted:
                wait_until_ready(rollout.target(canary=False), rollout.patience)
                rollout.edit(lambda service: shape.returned(service, before, release=release))


@contextmanager
def _taken_back(give_back: Callable[[bool], None]) -> Iterator[None]:
    """Give back what the block has changed if it fails; a run that was overtaken changes nothing more.

    Args:
        give_back: told whether the block was interrupted rather than failed, when time is short.
    """
    try:
        yield
    except Superseded:
        raise
    except BaseException as error:
        try:
            give_back(not isinstance(error, Exception))
            log.warning("taken back: what was served before is served still; reason=%s", error)
        except (ClusterError, RolloutFailed, Superseded) as failed:
            log.error("could not take back: %s", failed)
        raise
