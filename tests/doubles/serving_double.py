"""A real server around the tiny model, on a free port of the loopback device."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import word_counter


@dataclass(frozen=True)
class Served:
    """A server that runs.

    Attributes:
        client: for its address.
        grpc: address of its gRPC port.
        process: the server's.
        output: what it has written, standard output and error.
    """

    client: httpx.Client
    grpc: str
    process: subprocess.Popen[bytes]
    output: Path

    @property
    def address(self) -> str:
        return str(self.client.base_url).rstrip("/")


@contextmanager
def serving(output: Path, *options: str) -> Iterator[Served]:
    port, grpc_port = free_port(), free_port()
    with output.open("wb") as file:
        command = [sys.executable, word_counter.__file__, str(port), str(grpc_port), *options]
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30) as client:
            deadline = time.monotonic() + 60
            while not _ready(client):
                assert process.poll() is None, output.read_text()
                assert time.monotonic() < deadline, output.read_text()
                time.sleep(0.05)
            yield Served(client, f"127.0.0.1:{grpc_port}", process, output)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def _ready(client: httpx.Client) -> bool:
    try:
        return client.get("/v2/models/counter/ready").status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def free_port() -> int:
    """A port of the loopback device that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
