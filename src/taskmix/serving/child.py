"""The model server as a child process that ends with the block that started it, however that ends.

`running_server` is how the smoke test (and any test) has a real server for a while.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

import httpx

from taskmix.errors import ServingError

LOOPBACK = "127.0.0.1"
GRACE_S = 30
"""How long a server's requests in flight may take after SIGTERM; an arbitrary number, that of Kubernetes' default."""
STOP_TIMEOUT_S = GRACE_S + 10.0
LAST_LINES = 20


@contextlib.contextmanager
def running_server(system: str, *, name: str, timeout_s: float = 120.0) -> Iterator[str]:
    """Serve `system` in a child process on a free port of the loopback device.

    The child ends with the block: after an error, Ctrl-C or SIGTERM too, and even if this process is killed, since it
    holds the child's standard input open.

    Args:
        system: URI of what to serve.
        name: of the model in URLs.
        timeout_s: until the server must be ready.

    Yields:
        The server's address, `http://127.0.0.1:<port>`, once the model is ready.

    Raises:
        ServingError: the server ended or was not ready in time; tells its last lines.
    """
    address = f"http://{LOOPBACK}:{(port := _free_port())}"
    command = [sys.executable, "-m", "taskmix.serving", system, "--name", name, "--host", LOOPBACK, "--port", str(port)]
    with tempfile.TemporaryDirectory(prefix="taskmix-serving-") as folder, sigterm_as_exit():
        output = Path(folder) / "output.txt"
        with _child([*command, "--stop-at-end-of-input"], output=output) as child:
            _wait_until_ready(child, f"{address}/v2/models/{name}/ready", output=output, timeout_s=timeout_s)
            try:
                yield address
            except httpx.HTTPError as error:
                raise ServingError(
                    f"the server at {address} did not answer ({type(error).__name__}: {error}); {_last_lines(output)}"
                ) from error


@contextlib.contextmanager
def _child(command: Sequence[str], *, output: Path) -> Iterator[subprocess.Popen[bytes]]:
    with output.open("wb") as file:
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=file, stderr=subprocess.STDOUT)
    try:
        yield child
    finally:
        _stop(child)


def _stop(child: subprocess.Popen[bytes]) -> None:
    assert child.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        child.stdin.close()
    child.terminate()
    try:
        child.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _wait_until_ready(child: subprocess.Popen[bytes], url: str, *, output: Path, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    with httpx.Client(trust_env=False, timeout=5) as client:
        while time.monotonic() < deadline:
            if (status := child.poll()) is not None:
                raise ServingError(
                    f"the server ended with exit code {status} before it was ready; {_last_lines(output)}"
                )
            with contextlib.suppress(httpx.HTTPError):
                if client.get(url).status_code == httpx.codes.OK:
                    return
            time.sleep(0.1)
    raise ServingError(f"{url}: the server was not ready after {timeout_s:.0f} s; {_last_lines(output)}")


def _last_lines(output: Path) -> str:
    lines = output.read_text(encoding="utf-8", errors="replace").splitlines()[-LAST_LINES:]
    return "its last lines:\n" + "\n".join(f"  {line}" for line in lines) if lines else "it wrote nothing"


def _free_port() -> int:
    with socket.create_server((LOOPBACK, 0)) as server:
        return int(server.getsockname()[1])


@contextlib.contextmanager
def sigterm_as_exit() -> Iterator[None]:
    """Let SIGTERM unwind the block as Ctrl-C does, rather than end the process with the child alive."""
    if threading.current_thread() is not threading.main_thread():  # only there may signals be caught
        yield
        return

    def leave(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    previous = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
