"""Asking a release on the cluster through its real URL: which one answers, and whether it is this release.

The server names the bundles that it serves (`GET /v1/models/<name>`), which no status can be wrong about.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from urllib.parse import urlsplit

import httpx

from taskmix.cluster.connection import Object
from taskmix.cluster.readiness import Patience, Target
from taskmix.errors import RolloutFailed

ASKS = 5
"""Answers in a row, on connections of their own, that must come from the release; an arbitrary number."""
ASK_TIMEOUT_S = 10.0


def find_addresses(target: Target, service: Object) -> list[str]:
    """URLs at which this release alone is asked, the likeliest first; not all of them lead in from everywhere."""
    status, namespace = service.get("status", {}), target.cluster.namespace
    if target.way == "knative":
        component = status.get("components", {}).get("predictor", {})
        tagged = [
            each["url"] for each in component.get("traffic") or () if each.get("tag") == "latest" and each.get("url")
        ]
        return [*tagged, f"http://{component.get('latestReadyRevision')}.{namespace}.svc.cluster.local"]
    if target.way == "entries":  # a Service without a cluster address is asked at the container's own port
        host = f"http://{target.workload}.{namespace}.svc.cluster.local"
        return [host, f"{host}:8080"]
    return list(dict.fromkeys(filter(None, [status.get("address", {}).get("url"), status.get("url")])))


def open_client(address: str, *, gateway: str | None) -> httpx.Client:
    """A client for an address, or for the gateway that leads there by the address's host name."""
    timeout = httpx.Timeout(120.0, connect=ASK_TIMEOUT_S)
    if gateway is None:
        return httpx.Client(base_url=address, trust_env=False, timeout=timeout)
    return httpx.Client(base_url=gateway, headers={"Host": urlsplit(address).netloc}, trust_env=False, timeout=timeout)


def wait_for_version(
    addresses: Sequence[str], *, name: str, manifests: Sequence[str], gateway: str | None, patience: Patience
) -> str:
    """Wait until a server at one of the addresses says, several times in a row, that it serves these bundles.

    Args:
        addresses: URLs to try.
        name: of the model in URLs.
        manifests: sha256 of the bundles' manifests.
        gateway: the ingress gateway to go through, or null.
        patience: how long.

    Returns:
        The address that answered.

    Raises:
        RolloutFailed: none did, or another version kept answering.
    """
    deadline_s, wanted, told = time.monotonic() + patience.timeout_s, sorted(manifests), "KServe tells no URL"
    while True:
        patience.check()
        for address in addresses:
            in_a_row = 0
            while in_a_row < ASKS:
                served, told = _ask_version(address, name=name, gateway=gateway)
                if served != wanted:
                    break
                in_a_row += 1
            else:
                return address
        if time.monotonic() > deadline_s:
            raise RolloutFailed(
                f"model {name}: no address answered as the release within {patience.timeout_s:.0f} s: {told}; asked "
                f"were {', '.join(addresses) or 'none'}. Check that this machine reaches one of them, or set "
                "deployment.gateway"
            )
        time.sleep(patience.poll_s)


def _ask_version(address: str, *, name: str, gateway: str | None) -> tuple[list[str] | None, str]:
    """The manifests that the server at an address names, and a sentence on what it answered."""
    try:
        with open_client(address, gateway=gateway) as client:
            response = client.get(f"/v1/models/{name}", timeout=ASK_TIMEOUT_S)
            served = sorted(str(bundle["manifest"]) for bundle in response.json()["bundles"])
    except httpx.HTTPError as error:
        return None, f"{address} cannot be reached ({type(error).__name__}: {error})"
    except (ValueError, KeyError, TypeError):
        return None, f"{address} answered {response.status_code} and names no bundles"
    return served, f"{address} serves the bundles {', '.join(manifest[:12] for manifest in served)}"
