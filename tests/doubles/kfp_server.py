"""Kubeflow Pipelines' API server on loopback: keeps pipelines, versions, experiments, runs and recurring runs.

What it takes and gives is checked against the published API (`kfp_contract`); how it behaves is KFP 2.17.0's (pages of
20, filters, unique names, limits, words of errors, nodes of a run). It runs no steps: a test says how a run goes on.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from kfp_contract import OffContract, Operation, check, operations
from kfp_state import KfpState, Refused
from listening import listening

OPERATIONS = operations()
CODES = {400: 3, 401: 16, 403: 7, 404: 5, 409: 6, 500: 13, 503: 14}
"""HTTP status to gRPC's code, as grpc-gateway pairs them."""


@dataclass(frozen=True)
class Exchange:
    """One request and the status of its answer."""

    verb: str
    path: str
    query: dict[str, str]
    body: Any
    status: int
    operation: str
    headers: dict[str, str]

    def __str__(self) -> str:
        wanted = {key: value for key, value in self.query.items() if value and key not in ("page_size", "description")}
        query = "?" + "&".join(f"{key}={value}" for key, value in wanted.items()) if wanted else ""
        return f"{self.verb} {self.path}{query} {self.status}"


@dataclass
class KfpServer:
    """A running server.

    Attributes:
        url: its address.
        state: what it holds.
        token: the bearer token or cookie that it asks for; empty lets everybody in.
        health: what it says of itself.
        faults: operation to the statuses that its next calls are answered with instead.
        login_page: answer without credentials as Dex before a Kubeflow does: lead to a login page.
        behind_ui: requests come through the user interface's server, which also gives pods' logs.
        talk: every exchange so far.
        off_contract: what was not as the published API says.
    """

    url: str
    state: KfpState = field(default_factory=KfpState)
    token: str = ""
    health: dict[str, Any] = field(
        default_factory=lambda: {
            "commit_sha": "0" * 40,
            "tag_name": "2.17.0",
            "multi_user": False,
            "pipeline_store": "database",
        }
    )
    faults: dict[str, list[int]] = field(default_factory=dict)
    login_page: bool = False
    behind_ui: bool = True
    talk: list[Exchange] = field(default_factory=list)
    off_contract: list[str] = field(default_factory=list)

    def conversation(self, *, since: int = 0) -> list[str]:
        """The exchanges as lines."""
        return [str(exchange) for exchange in self.talk[since:]]


@contextmanager
def running_kfp_server() -> Iterator[KfpServer]:
    """Run a server on a free port while the block lasts.

    Raises:
        OffContract: at the end, if any request or answer was not as the published API says.
    """
    listener = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    with listening(listener) as url:
        server = KfpServer(url)
        listener.kfp = server  # type: ignore[attr-defined]
        yield server
    if server.off_contract:
        raise OffContract("\n".join(server.off_contract))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # headers and body in one packet: two would wait 40 ms for each other (Nagle, delayed ACK)

    def do_GET(self) -> None:
        kfp: KfpServer = self.server.kfp  # type: ignore[attr-defined]
        url = urlsplit(self.path)
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        content = self.rfile.read(int(self.headers.get("content-length") or 0))
        operation, body = "", None
        try:
            self._let_in(kfp)
            found = _find(self.command, url.path)
            if found is None:
                status, kind, answer = self._elsewhere(kfp, url.path, query)
            else:
                operation, parameters = found[0].name, found[1]
                body = _body(found[0], content, self.headers)
                status, kind, answer = 200, "application/json", _answer(kfp, found[0], parameters, query, body)
        except _Redirect as redirect:
            self._send(302, "text/html", b"", location=str(redirect))
            return
        except Refused as refused:
            status, kind = refused.status, "application/json"
            answer = json.dumps(_error(refused, upload=operation.startswith("upload"))).encode()
        except OffContract as off:
            kfp.off_contract.append(f"{self.command} {self.path}: {off}")
            status, kind, answer = 500, "text/plain", str(off).encode()
        kfp.talk.append(Exchange(self.command, url.path, query, body, status, operation, dict(self.headers)))
        self._send(status, kind, answer)

    do_POST = do_DELETE = do_GET

    def _let_in(self, kfp: KfpServer) -> None:
        shown = [self.headers.get("authorization", "").removeprefix("Bearer "), self.headers.get("cookie", "")]
        if kfp.token and kfp.token not in shown:
            if kfp.login_page:
                raise _Redirect("/dex/auth?state=secret")
            raise Refused(401, "Request header error: there is no user identity header.")

    def _elsewhere(self, kfp: KfpServer, path: str, query: dict[str, str]) -> tuple[int, str, bytes]:
        """What is no operation of the OpenAPI: a run of the API before, logs by both their ways, the UI's pages."""
        parts = path.strip("/").split("/")
        if parts[:3] == ["apis", "v1beta1", "runs"] and len(parts) == 4:
            manifest = json.dumps(kfp.state.workflow(unquote(parts[3])))
            return 200, "application/json", json.dumps({"pipeline_runtime": {"workflow_manifest": manifest}}).encode()
        if kfp.behind_ui and path == "/k8s/pod/logs":
            log = kfp.state.logs.get(query["podname"])
            return (200, "text/plain", log.encode()) if log is not None else (404, "text/html", b"pod not found")
        if parts[:3] == ["apis", "v1alpha1", "runs"] and parts[-1] == "log" and not kfp.behind_ui:
            log = kfp.state.logs.get(parts[5])
            # KFP has sent its 200 before it looks for the pod.
            error = {"error_message": "Failed to read logs for run", "error_details": "not found"}
            return 200, "text/plain", (log if log is not None else json.dumps(error)).encode()
        if kfp.behind_ui:
            return 200, "text/html", b"<!doctype html><title>Kubeflow Pipelines</title>"
        return 404, "application/json", json.dumps({"code": 5, "message": "Not Found", "details": []}).encode()

    def _send(self, status: int, kind: str, body: bytes, **headers: str) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class _Redirect(Exception):
    """Where somebody without credentials is led."""


def _find(verb: str, path: str) -> tuple[Operation, dict[str, str]] | None:
    for operation in OPERATIONS:
        parameters = operation.match(path) if operation.verb == verb else None
        if parameters is not None:
            return operation, parameters
    return None


def _body(operation: Operation, content: bytes, headers: Message) -> Any:
    if operation.files:
        return _file_of(content, headers["content-type"], names=operation.files)
    if not operation.body:
        return None
    body = json.loads(content)
    check(body, operation.body, where=f"{operation.name} request")
    return body


def _file_of(content: bytes, content_type: str, *, names: frozenset[str]) -> str:
    """The file in a form, as the API server's `FormFile` finds it."""
    form = BytesParser().parsebytes(f"Content-Type: {content_type}\r\n\r\n".encode() + content)
    for part in form.get_payload():
        name = part.get_param("name", header="content-disposition")
        if name not in names or not part.get_filename():
            raise OffContract(f"the form's part {name!r} is none of {sorted(names)}, or no file")
        return str(part.get_payload(decode=True).decode())
    raise OffContract("the form holds no file")


def _answer(
    kfp: KfpServer, operation: Operation, parameters: dict[str, str], query: dict[str, str], body: Any
) -> bytes:
    if unknown := query.keys() - operation.query:
        raise OffContract(f"{operation.name} knows no query parameter {sorted(unknown)}")
    if kfp.faults.get(operation.name):
        raise Refused(kfp.faults[operation.name].pop(0), "made to fail by the test")
    if operation.name == "healthz_service_get_healthz":
        # commit_sha and tag_name are sent by the server, but are not in the published API.
        check({key: kfp.health.get(key) for key in ("multi_user", "pipeline_store")}, operation.answer, where="healthz")
        return json.dumps(kfp.health).encode()
    given = kfp.state.call(operation.name, parameters, query, body, multi_user=bool(kfp.health.get("multi_user")))
    check(given, operation.answer, where=f"{operation.name} answer")
    return json.dumps(given).encode()


def _error(refused: Refused, *, upload: bool) -> dict[str, Any]:
    """The body of an error: grpc-gateway's, or the upload handler's own."""
    if upload:
        return {"error_message": str(refused), "error_details": str(refused)}
    body = {"code": CODES[refused.status], "message": str(refused), "details": []}
    check(body, "GoogleRpcStatus", where="error")
    return body


def page_token(offset: int) -> str:
    """A token for the page that begins there."""
    return base64.b64encode(json.dumps({"offset": offset}).encode()).decode()
