"""`deploy` and `roll_back`: a release onto the cluster and into the champion's record, one run at a time."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from taskmix.cluster import inference_service as shape
from taskmix.cluster.abilities import Abilities, find_abilities
from taskmix.cluster.connection import Cluster, Object, connect
from taskmix.cluster.inference_service import Wanted
from taskmix.cluster.kinds import INFERENCE_SERVICE
from taskmix.cluster.lease import held
from taskmix.cluster.rollout import Rollout, confirm, replace_stable, roll_out, take_over
from taskmix.config.plan import DeploymentSlice
from taskmix.errors import ClusterError
from taskmix.serving import releases
from taskmix.serving.assembly import assemble
from taskmix.serving.child import sigterm_as_exit
from taskmix.storage import redact

log = logging.getLogger(__name__)

LOCK_WAIT_S = 3600.0
"""How long to wait for another run that deploys; an arbitrary number, longer than a rollout of large weights."""
MAX_NAME = 40
"""KServe adds `-r12345678-predictor` and Kubernetes allows 63 characters."""


@dataclass(frozen=True)
class Site:
    """Where and how patiently to deploy; all of it is found out where nothing is given.

    Attributes:
        cluster: null connects to the deployment's namespace.
        abilities: null asks the cluster.
        poll_s: between two looks at it.
        lock_wait_s: how long to wait for another run that deploys.
    """

    cluster: Cluster | None = None
    abilities: Abilities | None = None
    poll_s: float = 2.0
    lock_wait_s: float = LOCK_WAIT_S


def deploy(release: str, settings: DeploymentSlice, *, site: Site | None = None, again: bool = False) -> str:
    """Roll a release out, canary first, and make it the champion; deploying the champion again changes nothing.

    Args:
        release: URI of the release.
        settings: how it shall be deployed.
        site: where; null finds out.
        again: though its bundles were rolled back.

    Returns:
        URI of the champion's record.

    Raises:
        RolledBack: its bundles were rolled back; nothing was changed.
        Superseded: another run was faster, or deploys still.
        RolloutFailed: the release did not get ready; what was served before is served still.
        ServingError: it answered otherwise than it was evaluated; likewise.
        ClusterError: the cluster cannot be reached, refuses, or has no KServe.
        StorageError: the release's storage is a folder, which a cluster's pods do not share.
    """
    with _rollout(release, settings, site or Site()) as rollout:
        record = releases.read_release(release)
        champion = releases.read_champion(releases.champion_uri(release))
        if champion is None or champion["release"] != release:
            releases.check_promotable(record, champion, release=release, again=again)
        service = roll_out(rollout)
        rollout.lease.check()
        return releases.promote(release, served=_served(rollout, service), again=again)


def roll_back(root: str, settings: DeploymentSlice, *, site: Site | None = None) -> str:
    """Serve the champion before this one again, to everyone at once: without a canary, but not before it is ready.

    Args:
        root: the storage of the configuration.
        settings: how it shall be deployed.
        site: where; null finds out.

    Returns:
        URI of the champion's record.

    Raises:
        ServingError: there is nothing to return to, or it does not answer as it was evaluated.
        RolloutFailed: it did not get ready; what was served before is served still.
        ClusterError: the cluster cannot be reached, refuses, or has no KServe.
    """
    release = releases.previous_release(root, settings.deployment.name)
    with _rollout(release, settings, site or Site()) as rollout:
        existing = take_over(rollout)
        before, left = shape.stable_predictor(existing), shape.notes_of(existing).get(shape.RELEASE)
        service = replace_stable(rollout, before=before, release=left)
        rollout.lease.check()
        return releases.roll_back(release, served=_served(rollout, service))


def verify(release: str, settings: DeploymentSlice, *, site: Site | None = None) -> None:
    """Ask the service, at full share, what evaluation was asked; nothing is changed.

    Where another run has promoted its release since, there is nothing to ask, which the log tells.

    Raises:
        RolloutFailed: the service is not ready, or serves something else.
        ServingError: it answers otherwise than it was evaluated.
        ClusterError: the cluster cannot be reached, or refuses.
    """
    with _rollout(release, settings, site or Site()) as rollout:
        champion = releases.read_champion(releases.champion_uri(release))
        if champion is None or champion["release"] != release:
            log.info("not verified release=%s: it is not the champion any more", release)
            return
        confirm(rollout, canary=False)


@contextmanager
def _rollout(release: str, settings: DeploymentSlice, site: Site) -> Iterator[Rollout]:
    """Hold the deployment's lock, with the release gathered in one folder."""
    deployment = settings.deployment
    _check_name(deployment.name)
    if not release.startswith("s3://"):
        raise ClusterError(
            f"{redact(release)}: lies in a folder of this machine, which a cluster's pods do not share; run the "
            "pipeline with --storage s3://bucket/prefix, then deploy that run"
        )
    cluster = site.cluster or connect(deployment.namespace)
    abilities = site.abilities or find_abilities(cluster)
    storage_uri = assemble(release)
    with sigterm_as_exit(), held(cluster, f"taskmix-{deployment.name}", wait_s=site.lock_wait_s) as lease:
        existing = cluster.find(INFERENCE_SERVICE, deployment.name)
        mode = shape.find_mode(existing, wanted=deployment.mode, abilities=abilities)
        wanted = Wanted(deployment.name, release, storage_uri, settings, mode, abilities)
        log.info("deploying service=%s mode=%s way=%s", deployment.name, mode, wanted.way)
        yield Rollout(cluster, wanted, lease, site.poll_s)


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name) or len(name) > MAX_NAME:
        raise ClusterError(
            f"deployment.name: '{name}' cannot be the name of an InferenceService; allowed are up to {MAX_NAME} "
            "of a-z, 0-9 and -, beginning with a letter and not ending with -"
        )


def _served(rollout: Rollout, service: Object) -> dict[str, Any]:
    """What the champion's record says of where it is served."""
    status = service.get("status", {})
    return {
        "inference_service": rollout.wanted.name,
        "namespace": rollout.cluster.namespace,
        "mode": rollout.wanted.mode,
        "storage_uri": rollout.wanted.storage_uri,
        "url": status.get("url"),
    }
