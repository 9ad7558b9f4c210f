"""A hub that holds one dataset: the few answers of the Hugging Face hub that reading it needs, on localhost."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from listening import listening

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@contextmanager
def running_hub(repository: str, *, files: Mapping[str, bytes]) -> Iterator[str]:
    """Serve `files`, none of them in a folder, as the dataset `repository`; yields the address for HF_ENDPOINT."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.answer()

        def do_HEAD(self) -> None:
            self.answer()

        def do_POST(self) -> None:
            asked = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            self.send(
                200, json.dumps([entry(name) for name in files if name in asked]).encode(), kind="application/json"
            )

        def answer(self) -> None:
            path = urlsplit(self.path).path
            name = path.partition(f"/resolve/{COMMIT}/")[2] or path.partition("/resolve/main/")[2]
            if path.startswith(f"/datasets/{repository}/resolve/") and name in files:
                self.send(200, files[name], etag=hashlib.sha1(files[name]).hexdigest())
            elif path in (f"/api/datasets/{repository}/tree/{COMMIT}", f"/api/datasets/{repository}/tree/main"):
                self.send(200, json.dumps([entry(name) for name in files]).encode(), kind="application/json")
            elif path in (
                f"/api/datasets/{repository}",
                *(f"/api/datasets/{repository}/revision/{r}" for r in (COMMIT, "main")),
            ):
                about = {
                    "id": repository,
                    "sha": COMMIT,
                    "siblings": [{"rfilename": name} for name in files],
                    "tags": [],
                }
                self.send(200, json.dumps(about).encode(), kind="application/json")
            elif path.startswith((f"/api/datasets/{repository}", f"/datasets/{repository}")):
                self.send(404, b"", error="EntryNotFound")
            else:
                self.send(404, b"", error="RepoNotFound")

        def send(self, status: int, body: bytes, *, kind: str = "text/plain", etag: str = "", error: str = "") -> None:
            self.send_response(status)
            headers = {"Content-Length": str(len(body)), "Content-Type": kind, "X-Repo-Commit": COMMIT}
            headers |= {"ETag": f'"{etag}"'} if etag else {}
            headers |= {"X-Error-Code": error} if error else {}
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Stay quiet."""

    def entry(name: str) -> dict[str, object]:
        return {"type": "file", "path": name, "size": len(files[name]), "oid": hashlib.sha1(files[name]).hexdigest()}

    with listening(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as url:
        yield url
