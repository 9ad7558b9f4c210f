"""What an API server answers instead of doing what it was asked, in words that name the remedy."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from taskmix.cluster.kinds import Kind
from taskmix.errors import Absent, ClusterError, Conflict


def explain(error: Any, *, where: str, verb: str, kind: Kind | None) -> ClusterError:
    """Our error for what the API server has answered."""
    if not error.status:
        return ClusterError(f"{where}: no secure connection: {error.reason}; check the kubeconfig's certificates")
    status = _status(error)
    message = str(status.get("message") or error.reason or error)
    if error.status == 404 and status.get("kind") != "Status" and kind is not None and kind.source:
        return ClusterError(
            f"{where}: the cluster knows no {kind.name} ({kind.api_version}): {kind.source} is not installed, or not "
            "in a version that has it; install it"
        )
    if error.status == 404:
        return Absent(f"{where}: is not there ({message}); check its name and the namespace")
    if error.status == 401:
        return ClusterError(f"{where}: the credentials are not accepted (401); log in again, or renew the token")
    if error.status == 403 and "cannot" in message:
        grant = f"'{verb}' on '{kind.plural}' of API group '{kind.group}'" if kind else f"'{verb}' on it"
        return ClusterError(f"{where}: not permitted (403): {message}; grant {grant} to this account")
    if error.status == 409:
        return Conflict(f"{where}: {message}; read it again, then change it")
    return ClusterError(f"{where}: refused ({error.status}): {message}; correct what the message names")


def _status(error: Any) -> Mapping[str, Any]:
    try:
        value = json.loads(error.body)
    except (TypeError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
