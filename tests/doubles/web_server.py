"""A web server on loopback that gives the answers it is told to, bad ones too, and remembers what it was asked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from listening import listening


@dataclass(frozen=True)
class Answer:
    """One answer; it claims the whole body's size even when it sends less."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    send_bytes: int | None = None


@dataclass(frozen=True)
class Request:
    """What a client asked."""

    method: str
    path: str
    headers: dict[str, str]


class WebServer:
    """A running server: gives `answers` in turn, the last of them ever after."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.answers: list[Answer] = []
        self.requests: list[Request] = []

    def next_answer(self) -> Answer:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@contextmanager
def running_web_server() -> Iterator[WebServer]:
    """Run a server on a free port while the block lasts."""
    listener = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    with listening(listener) as url:
        server = WebServer(url)
        listener.script = server  # type: ignore[attr-defined]
        yield server


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        script: WebServer = self.server.script  # type: ignore[attr-defined]
        script.requests.append(Request(self.command, self.path, dict(self.headers)))
        answer = script.next_answer()
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body[: answer.send_bytes])

    do_HEAD = do_GET

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.do_GET()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""
