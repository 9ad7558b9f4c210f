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
import pytest
import word_counter


@dataclass(frozen=True)
class Served:
    """A server that runs.

    Attributes:
        client: for its address.
        process: the server's.
        output: what it has written, standard output and error.
    """

    client: httpx.Client
    process: subprocess.Popen[bytes]
    output: Path

    @property
    def address(self) -> str:
        return str(self.client.base_url).rstrip("/")


@contextmanager
def serving(output: Path) -> Iterator[Served]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with output.open("wb") as file:
        command = [sys.executable, word_counter.__file__, str(port)]
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30) as client:
            deadline = time.monotonic() + 60
            while not _ready(client):
                assert process.poll() is None, output.read_text()
                assert time.monotonic() < deadline, output.read_text()
                time.sleep(0.05)
            yield Served(client, process, output)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def _ready(client: httpx.Client) -> bool:
    try:
        return client.get("/v2/models/counter/ready").status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One server for all tests that only ask."""
    with serving(tmp_path_factory.mktemp("served") / "output.txt") as server:
        yield server


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Served]:
    """A server that the test may stop."""
    with serving(tmp_path / "output.txt") as server:
        yield server
