"""Where Kubeflow Pipelines is and who we are to it: found, and checked in seconds with a plain sentence for each fault.

kfp's own client asks a server that does not answer five times, five seconds apart, and then tells a stack trace. So it
is made only after `preflight` has had an answer. Secrets come from the environment or from the pod, and are never told.
"""

from __future__ import annotations

import os
import re
import ssl
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

import httpx

from taskmix.errors import PipelineServiceError

if TYPE_CHECKING:
    from kfp import Client

HOST_VARIABLE = "KF_PIPELINES_ENDPOINT"
"""kfp's own name; so is KF_PIPELINES_UI_ENDPOINT, which its links and ours begin with where it is set."""
TOKEN_VARIABLE = "KF_TOKEN"
COOKIE_VARIABLE = "KF_COOKIE"
NAMESPACE_VARIABLE = "KF_NAMESPACE"
POD_TOKEN = "/var/run/secrets/kubeflow/pipelines/token"
"""Where Kubeflow projects a service account's token for Pipelines; KF_PIPELINES_SA_TOKEN_PATH names another place."""
POD_NAMESPACE = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"
IN_CLUSTER_HOST = "http://ml-pipeline.kubeflow.svc.cluster.local:8888"
OLDEST = (2, 17)
"""KFP's backend that this project is written for and tested with."""
PATIENCE = httpx.Timeout(4.0, connect=2.0)
"""Seconds; two questions are asked, so a server that does not answer is told of within about five."""


@dataclass(frozen=True)
class Connection:
    """A server and what is shown to it.

    Attributes:
        host: URL below which `/apis/v2beta1` lies.
        kind: what stands for us: a token that was given, a pod's service account, a session's cookie, or nothing, which
            a port-forwarded server of a single user asks for.
        namespace: the profile's namespace on a Kubeflow for several users; empty elsewhere.
        source: where the secret is from, for people.
        secret: the token or cookie itself; not shown.
        ca_file: certificate authorities to trust instead of the system's.
    """

    host: str
    kind: Literal["token", "service account", "cookie", "none"] = "none"
    namespace: str = ""
    source: str = ""
    secret: str = field(default="", repr=False)
    ca_file: str | None = None

    @property
    def headers(self) -> dict[str, str]:
        """What to send with a request."""
        if self.kind == "cookie":
            return {"Cookie": self.secret}
        return {"Authorization": f"Bearer {self.secret}"} if self.secret else {}

    @property
    def ui(self) -> str:
        """Where the user interface is."""
        return os.environ.get("KF_PIPELINES_UI_ENDPOINT", self.host).rstrip("/")


@dataclass(frozen=True)
class Server:
    """What a server says of itself; the version is empty where it does not say."""

    version: str
    multi_user: bool


def find_connection(
    *,
    host: str | None = None,
    namespace: str | None = None,
    token_variable: str = TOKEN_VARIABLE,
    ca_file: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> Connection:
    """The server and credentials to use, in the order in which people have them.

    A token in the environment, the pod's service account, a session's cookie in the environment, or none.

    Args:
        host: the server; null takes it from KF_PIPELINES_ENDPOINT, or, in a pod with a token, the cluster's own name.
        namespace: null takes it from KF_NAMESPACE, or the pod's where there is a pod's token.
        token_variable: the environment variable that holds a token.
        ca_file: certificate authorities to trust.
        environment: null takes the process's.

    Raises:
        PipelineServiceError: no host is given or found, or it is no URL.
    """
    known = os.environ if environment is None else environment
    pod_token = Path(known.get("KF_PIPELINES_SA_TOKEN_PATH", POD_TOKEN))
    in_pod = pod_token.is_file()
    address = host or known.get(HOST_VARIABLE) or (IN_CLUSTER_HOST if in_pod else "")
    if not address:
        raise PipelineServiceError(
            f"no host of Kubeflow Pipelines: give --host or {HOST_VARIABLE}, e.g. https://kubeflow.example/pipeline; "
            "for one without an ingress: kubectl -n kubeflow port-forward svc/ml-pipeline-ui 8080:80, and then "
            "--host http://localhost:8080"
        )
    if urlsplit(address).scheme not in ("http", "https") or not urlsplit(address).hostname:
        raise PipelineServiceError(f"host {address!r} is no URL; give http://... or https://...")
    where = {
        "host": address.rstrip("/"),
        "ca_file": ca_file,
        "namespace": namespace or known.get(NAMESPACE_VARIABLE, ""),
    }
    if token := known.get(token_variable, "").strip():
        return Connection(**where, kind="token", source=token_variable, secret=token)
    if in_pod:
        where["namespace"] = namespace or _read(Path(POD_NAMESPACE))
        return Connection(**where, kind="service account", source=str(pod_token), secret=_read(pod_token))
    if cookie := known.get(COOKIE_VARIABLE, "").strip():
        return Connection(**where, kind="cookie", source=COOKIE_VARIABLE, secret=cookie)
    return Connection(**where)


def preflight(connection: Connection) -> Server:
    """Ask the server what it is and whether it lets us in.

    Raises:
        PipelineServiceError: one sentence on what is wrong: out of reach, a login page, not let in, no Kubeflow
            Pipelines, too old, a namespace is needed.
    """
    with open_http(connection) as http:
        health = _json_of(connection, _get(connection, http, "/apis/v2beta1/healthz"))
        server = _server(connection, health)
        # Health is told to anybody; whether we may do anything is told by a list. A server of one user refuses to be
        # asked by namespace.
        asked = {"page_size": "1", "namespace": connection.namespace if server.multi_user else ""}
        _json_of(connection, _get(connection, http, "/apis/v2beta1/experiments", params=asked))
    return server


def fit(connection: Connection, server: Server) -> Connection:
    """The connection, without a namespace (a pod always has one) where the server is of one user and refuses it."""
    return connection if server.multi_user else replace(connection, namespace="")


def open_http(connection: Connection) -> httpx.Client:
    """A plain HTTP client for what kfp's client does not do; it answers or fails within seconds."""
    verify = ssl.create_default_context(cafile=connection.ca_file) if connection.ca_file else True
    return httpx.Client(base_url=connection.host, headers=connection.headers, timeout=PATIENCE, verify=verify)


def open_client(connection: Connection) -> Client:
    """A client of kfp's; call `preflight` before."""
    from kfp.client import Client, ServiceAccountTokenVolumeCredentials

    credentials: dict[str, Any] = {}
    match connection.kind:
        case "token":
            credentials["existing_token"] = connection.secret
        case "service account":
            # Read again from its file at each request: the kubelet renews it every hour.
            credentials["credentials"] = ServiceAccountTokenVolumeCredentials(connection.source)
        case "cookie":
            credentials["cookies"] = connection.secret
    if connection.ca_file:
        credentials["ssl_ca_cert"] = connection.ca_file
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # that it only works with 2.0.0-beta.2 and later
        # The namespace `kubeflow` is the client's default, and means none.
        return Client(host=connection.host, namespace=connection.namespace or "kubeflow", **credentials)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _get(connection: Connection, http: httpx.Client, path: str, *, params: dict[str, str] | None = None) -> Any:
    try:
        return http.get(path, params=params)
    except httpx.TimeoutException:
        why = f"does not answer within {PATIENCE.read:g} s; check the host, and the network or VPN"
    except httpx.ConnectError as error:
        why = f"cannot be reached ({error}); is the port-forward running, the host right, its certificate trusted?"
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        why = f"does not speak HTTP there ({type(error).__name__}: {error}); check the scheme and the port"
    raise PipelineServiceError(f"{connection.host}: {why}")


def _json_of(connection: Connection, answer: httpx.Response) -> dict[str, Any]:
    shown = f"the {connection.kind} of {connection.source}" if connection.source else "no credentials"
    remedy = f"set {TOKEN_VARIABLE} to a token, or {COOKIE_VARIABLE} to the cookie of a browser's session (name=value)"
    if answer.status_code in (401, 403):
        said = "not let in" if answer.status_code == 401 else "not allowed"
        namespace = f" in namespace '{connection.namespace}'" if connection.namespace else ""
        raise PipelineServiceError(
            f"{connection.host}: {said} with {shown}{namespace} (HTTP {answer.status_code}{_message(answer)}); {remedy}"
        )
    if answer.is_redirect or "html" in answer.headers.get("content-type", ""):
        what = f"leads to {_place(answer)}" if answer.is_redirect else "answers with a web page"
        raise PipelineServiceError(
            f"{connection.host}: {what} instead of JSON, with {shown}: a login page, or not Pipelines' address (of a "
            f"whole Kubeflow it ends in /pipeline); {remedy}"
        )
    try:
        value = answer.json()
    except ValueError:
        value = None
    if answer.status_code >= 500:
        raise PipelineServiceError(
            f"{connection.host}: has a fault of its own or is not ready (HTTP {answer.status_code}{_message(answer)}); "
            "try again, and look at its pods if it stays"
        )
    if answer.status_code != 200 or not isinstance(value, dict):
        raise PipelineServiceError(
            f"{connection.host}: {answer.request.url.path} answers HTTP {answer.status_code}{_message(answer)}: no "
            "Kubeflow Pipelines 2; of a whole Kubeflow the host ends in /pipeline"
        )
    return value


def _server(connection: Connection, health: Mapping[str, Any]) -> Server:
    """What the health says. The API server calls its version `tag_name`, the UI before it `apiServerTagName`."""
    if health.get("apiServerReady") is False:
        raise PipelineServiceError(f"{connection.host}: the user interface answers, the API server behind it does not")
    version = str(health.get("tag_name") or health.get("apiServerTagName") or "")
    found = re.match(r"v?(\d+)\.(\d+)", version)
    if found and (int(found[1]), int(found[2])) < OLDEST:
        wanted = ".".join(map(str, OLDEST))
        raise PipelineServiceError(f"{connection.host}: is version {version}, at least {wanted} is needed; upgrade it")
    server = Server(version if found else "", health.get("multi_user") is True)
    if server.multi_user and not connection.namespace:
        raise PipelineServiceError(
            f"{connection.host}: serves several users, so it needs a namespace; give --namespace or "
            f"{NAMESPACE_VARIABLE}, the name of your profile"
        )
    return server


def _place(answer: httpx.Response) -> str:
    """Where a redirect leads, without its query, which may hold a session's secrets."""
    target = urlsplit(answer.headers.get("location", ""))
    return f"{target.netloc}{target.path}" or "another page"


def _message(answer: httpx.Response) -> str:
    try:
        value = answer.json()
    except ValueError:
        return ""
    said = value.get("message") or value.get("error") if isinstance(value, dict) else None
    return f", {str(said)[:200]}" if said else ""
