"""A cluster's API: objects of any kind as plain JSON, and errors that say what is missing and who can give it.

Authentication, TLS and connections are the `kubernetes` client's; its generated classes are not used, since custom
resources have none, and two ways of reading an object would be one too many.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import urllib3
from kubernetes import client, config

from taskmix.cluster.kinds import POD, POD_LOG, Kind
from taskmix.cluster.refusals import explain
from taskmix.errors import Absent, ClusterError, Conflict

Object = dict[str, Any]
"""An object of Kubernetes: apiVersion, kind, metadata, spec, status."""
Answer = Literal["object", "str"]
Edit = Callable[[Object], Object]

POD_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
TIMEOUT_S = (5.0, 60.0)
"""To connect, and to answer."""
STREAM_TIMEOUT_S = 600.0
"""How long a pod whose log is followed may write nothing before it is asked again; an arbitrary number."""
ATTEMPTS = 4
"""For what asks and changes nothing, where the API server is busy or away for a moment; an arbitrary number."""
BUSY = frozenset({429, 500, 502, 503, 504})
EDIT_ATTEMPTS = 20
"""Controllers write an object's status all the time, and each write makes an edit begin anew; an arbitrary number."""


@dataclass(frozen=True)
class Cluster:
    """A connection to one namespace of a cluster.

    Attributes:
        api: the client that holds the credentials.
        namespace: where objects are read and written.
    """

    api: client.ApiClient
    namespace: str

    @property
    def host(self) -> str:
        """The API server's address, for messages."""
        return str(self.api.configuration.host)

    def get(self, kind: Kind, name: str) -> Object:
        """The object; `Absent` if there is none."""
        return self._object("GET", kind, name)

    def find(self, kind: Kind, name: str) -> Object | None:
        """The object, or null if there is none."""
        try:
            return self.get(kind, name)
        except Absent:
            return None

    def list(self, kind: Kind, *, labels: str = "", fields: str = "") -> list[Object]:
        """The objects with these labels and fields, in the words of a selector."""
        query = [(key, value) for key, value in (("labelSelector", labels), ("fieldSelector", fields)) if value]
        items: list[Object] = self._object("GET", kind, query=query).get("items") or []
        return items

    def create(self, kind: Kind, value: Object) -> Object:
        """Make a new object; `Conflict` if there is one of its name."""
        return self._object("POST", kind, body=value)

    def replace(self, kind: Kind, value: Object) -> Object:
        """Write over an object that was read before; `Conflict` if it was changed since."""
        return self._object("PUT", kind, value["metadata"]["name"], body=value)

    def edit(self, kind: Kind, name: str, change: Edit) -> Object:
        """Read an object, change it and write it back, again and again until nobody has written in between.

        Args:
            kind: of the object.
            name: of the object.
            change: gets the object as it is and returns what it shall be, or raises to leave it.

        Raises:
            Absent: it is not there, or was deleted in between.
            Conflict: others never stopped writing it.
        """
        for attempt in range(1, EDIT_ATTEMPTS + 1):
            try:
                return self.replace(kind, change(self.get(kind, name)))
            except Conflict:
                if attempt == EDIT_ATTEMPTS:
                    raise
                time.sleep(0.05 * attempt)
        raise AssertionError("unreachable")

    def delete(self, kind: Kind, name: str) -> None:
        """Delete an object and what it owns; one that is not there is no error."""
        try:
            self._object("DELETE", kind, name, body={"propagationPolicy": "Background"})
        except Absent:
            return

    def read(self, path: str) -> Any:
        """The JSON at a path of the API itself, such as its discovery."""
        with self._told("get", path):
            return self._call("GET", path)

    def log(self, pod: str, *, container: str | None = None, last_lines: int) -> str:
        """The last lines that a pod's container has written."""
        query: list[tuple[str, Any]] = [("tailLines", last_lines)]
        query += [("container", container)] if container else []
        with self._told("get", f"log of Pod {pod}", POD_LOG):
            return str(self._call("GET", f"{self._path(POD)}/{pod}/log", query=query, answer="str"))

    @contextmanager
    def log_lines(self, pod: str, *, since_s: int | None = None) -> Iterator[Iterator[str]]:
        """The lines that a pod writes, as it writes them, until it ends."""
        query: list[tuple[str, Any]] = [("follow", "true")]
        query += [("sinceSeconds", since_s)] if since_s is not None else []
        with self._told("get", f"log of Pod {pod}", POD_LOG):
            answer = self._stream(f"{self._path(POD)}/{pod}/log", query=query)
            try:
                yield _lines(answer)
            finally:
                answer.release_conn()

    def _object(
        self, method: str, kind: Kind, name: str = "", *, body: Object | None = None, query: Any = ()
    ) -> Object:
        verb = {"GET": "get" if name else "list", "POST": "create", "PUT": "update", "DELETE": "delete"}[method]
        of = name or (body or {}).get("metadata", {}).get("name", "")
        with self._told(verb, f"{kind.name} {of}".strip(), kind):
            path = f"{self._path(kind)}/{name}" if name else self._path(kind)
            value: Object = self._call(method, path, body=body, query=query)
            return value

    def _path(self, kind: Kind) -> str:
        return f"{kind.root}/namespaces/{self.namespace}/{kind.plural}"

    def _call(self, method: str, path: str, *, body: Any = None, query: Any = (), answer: Answer = "object") -> Any:
        attempts = ATTEMPTS if method == "GET" else 1
        for attempt in range(1, attempts + 1):
            try:
                return self.api.call_api(
                    path,
                    method,
                    query_params=list(query),
                    header_params={"Accept": "application/json, */*", "Content-Type": "application/json"},
                    body=body,
                    auth_settings=["BearerToken"],
                    response_type=answer,
                    _return_http_data_only=True,
                    _request_timeout=TIMEOUT_S,
                )
            except (client.ApiException, urllib3.exceptions.HTTPError) as error:
                passing = not isinstance(error, client.ApiException) or error.status in BUSY
                if not passing or attempt == attempts:
                    raise
                time.sleep(0.25 * 2**attempt)
        raise AssertionError("unreachable")

    def _stream(self, path: str, *, query: Any) -> urllib3.BaseHTTPResponse:
        """An answer that is read as it comes; the generated client closes what it does not read at once."""
        headers: dict[str, str] = {}
        self.api.update_params_for_auth(headers, [], ["BearerToken"])
        answer: urllib3.BaseHTTPResponse = self.api.rest_client.pool_manager.request(
            "GET",
            self.host + path,
            fields=dict(query),
            headers=headers,
            preload_content=False,
            timeout=urllib3.Timeout(connect=TIMEOUT_S[0], read=STREAM_TIMEOUT_S),
        )
        if answer.status != 200:
            refused = client.ApiException(status=answer.status, reason=answer.reason)
            refused.body = answer.data
            raise refused
        return answer

    @contextmanager
    def _told(self, verb: str, what: str, kind: Kind | None = None) -> Iterator[None]:
        """Turn the client's errors into ours."""
        where = f"{self.host}, namespace {self.namespace}: {verb} {what}"
        try:
            yield
        except client.ApiException as error:
            raise explain(error, where=where, verb=verb, kind=kind) from None
        except urllib3.exceptions.HTTPError as error:
            reason = getattr(error, "reason", None) or error
            raise ClusterError(
                f"{where}: the API server cannot be reached ({reason}); check the cluster's address in the kubeconfig "
                "and that this machine reaches it"
            ) from None


def connect(namespace: str | None = None) -> Cluster:
    """Connect as the pod's service account inside a cluster, and as the kubeconfig's user elsewhere.

    A kubeconfig named by KUBECONFIG comes first, even inside a cluster.

    Args:
        namespace: where to work; null takes the pod's own, or that of the kubeconfig's current context.

    Raises:
        ClusterError: there is neither, or the kubeconfig cannot be used.
    """
    settings = client.Configuration()
    settings.retries = False  # ours are in `_call`, which knows what may be asked twice
    inside = "KUBERNETES_SERVICE_HOST" in os.environ and not os.environ.get("KUBECONFIG")
    try:
        if inside:
            config.load_incluster_config(client_configuration=settings)
            own = POD_NAMESPACE.read_text().strip()
        else:
            path = os.environ.get("KUBECONFIG") or None  # the client reads the variable once, when it is imported
            config.load_kube_config(path, client_configuration=settings)
            context = config.list_kube_config_contexts(path)[1]
            own = context["context"].get("namespace") or "default"
    except (config.ConfigException, OSError, KeyError, TypeError) as error:
        raise ClusterError(
            f"no cluster: {error}; run this inside a cluster, or name a kubeconfig in KUBECONFIG (kubectl's own "
            "default is ~/.kube/config)"
        ) from None
    return Cluster(client.ApiClient(settings), namespace or own)


def _lines(answer: Any) -> Iterator[str]:
    rest = b""
    for chunk in answer.stream(65536):
        *whole, rest = (rest + chunk).split(b"\n")
        yield from (line.decode("utf-8", errors="replace") for line in whole)
    if rest:
        yield rest.decode("utf-8", errors="replace")
