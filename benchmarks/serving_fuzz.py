"""Does any input make the server fail? Malformed requests by the ten thousand, against a real server of a real bundle.

    python benchmarks/serving_fuzz.py SYSTEM                    # 12,000 requests; a minute or two on a quiet machine
    python benchmarks/serving_fuzz.py SYSTEM --requests 100000

Four kinds in equal shares, all seeded: bytes that are no JSON, JSON of any shape, requests nearly right (V1 and V2)
with one thing wrong, and HTTP that lies about itself (lengths, encodings, paths). Prints how often each status came and
the server's memory along the way; ends with exit code 1 at a 5xx, a broken connection, a dead server or memory that
grows.
"""

from __future__ import annotations

import argparse
import collections
import http.client
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import psutil

V1, V2 = "/v1/models/fuzzed:predict", "/v2/models/fuzzed/infer"
WARM_UP = 0.25
"""Share of the requests after which memory counts: allocators and caches fill first."""
MAY_GROW_MIB = 24.0
"""Of resident memory, between warm-up and end; a leak of 4 KiB a request would be 36 MiB at 9,000. Arbitrary."""

Request = tuple[str, str, bytes, dict[str, str]]
"""Method, path, body, headers."""
TEXTS = (
    "",
    " ",
    "a",
    "wake me at nine",
    "\u0000",
    "\ud83d\ude00" * 9,
    "é" * 300,
    "\u202e",
    "a " * 400,
    "\n\t\r",
    "x" * 5000,
)
VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    3,
    1e308,
    2**70,
    "",
    "text",
    [],
    [[]],
    {},
    {"a": 1},
    [None],
    ["intent"],
    "ü",
)

PATHS = (
    "/v1/models/other:predict",
    "/v1/models/%00:predict",
    "/v1/models/fuzzed:explain",
    "/v2/models/fuzzed/versions/1/infer",
    "/v2/repository/models/fuzzed/unload",
    "/" + "a" * 4000,
)


def _json_of_any_shape(draw: random.Random, depth: int = 0) -> Any:
    kind = draw.random()
    if depth > 4 or kind < 0.5:
        return draw.choice((*VALUES, *TEXTS))
    size = draw.randrange(4)
    if kind < 0.75:
        return [_json_of_any_shape(draw, depth + 1) for _ in range(size)]
    keys = ("instances", "text", "tasks", "top_k", "inputs", "data", "shape", "parameters", draw.choice(TEXTS))
    return {draw.choice(keys): _json_of_any_shape(draw, depth + 1) for _ in range(size)}


def no_json(draw: random.Random) -> Request:
    """Bytes, cut JSON, deep nesting, wrong encodings."""
    right = json.dumps({"instances": [{"text": draw.choice(TEXTS)}]})
    body = draw.choice(
        (
            draw.randbytes(draw.randrange(200)),
            right[: draw.randrange(len(right))].encode(),
            b"[" * draw.randrange(1, 20_000),
            right.encode("utf-16"),
            b"\xff\xfe" + right.encode(),
            b'{"instances": [{"text": "' + draw.randbytes(8) + b'"}]}',
            b'{"instances": [{"text": "\\ud800"}]}',
            right.encode() * 2,
            b"NaN",
            b'{"instances": 1e999}',
        )
    )
    return "POST", draw.choice((V1, V2)), body, {}


def any_json(draw: random.Random) -> Request:
    """JSON that means nothing to the server."""
    return "POST", draw.choice((V1, V2)), json.dumps(_json_of_any_shape(draw)).encode(), {}


def nearly_right(draw: random.Random) -> Request:
    """A good request with one value replaced."""
    instance: dict[str, Any] = {"text": "wake me at nine", "tasks": ["intent"], "top_k": 2}
    tensor: dict[str, Any] = {"name": "text", "datatype": "BYTES", "shape": [2], "data": ["a", "b"]}
    v1: dict[str, Any] = {"instances": [instance, {"text": "b"}]}
    v2: dict[str, Any] = {"id": "1", "inputs": [tensor], "parameters": {"tasks": "intent"}, "outputs": []}
    path, body = draw.choice(((V1, v1), (V2, v2)))
    parts = [body, instance if path == V1 else tensor, *([v2["parameters"]] if path == V2 else [])]
    part = draw.choice(parts)
    part[draw.choice([*part, "unknown"])] = _json_of_any_shape(draw, depth=2)
    return "POST", path, json.dumps(body).encode(), {}


def lying_http(draw: random.Random) -> Request:
    """Headers that do not fit, methods and paths that are not there."""
    good = json.dumps({"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["a"]}]}).encode()
    headers = draw.choice(
        (
            {"inference-header-content-length": draw.choice(("-1", "x", "0", "7", "99999999999", "1e3", "²"))},
            {
                "content-type": draw.choice(
                    ("text/plain", "multipart/form-data; boundary=x", "application/json; charset=latin-1")
                )
            },
            {"content-encoding": "gzip"},
            {"accept": "x" * 3000},
            {"x-request-id": "\t" * 50},
        )
    )
    path = draw.choice((V1, V2, *PATHS))
    return draw.choice(("POST", "POST", "POST", "GET", "PUT", "DELETE", "PATCH")), path, good, headers


KINDS: tuple[Callable[[random.Random], Request], ...] = (no_json, any_json, nearly_right, lying_http)


def main() -> int:
    """Start a server, send, tell.

    Returns:
        0 if nothing failed, else 1.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("system", help="what to serve; one with a task 'intent' makes the best of it")
    parser.add_argument("--requests", type=int, default=12_000)
    parser.add_argument("--seed", type=int, default=13)
    parser.add_argument("--port", type=int, default=18190)
    arguments = parser.parse_args()
    command = [
        sys.executable,
        "-m",
        "taskmix.serving",
        arguments.system,
        "--name",
        "fuzzed",
        "--port",
        str(arguments.port),
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait(arguments.port)
        return _attack(process, requests=arguments.requests, seed=arguments.seed, port=arguments.port)
    finally:
        process.terminate()
        process.wait(60)


def _wait(port: int) -> None:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        try:
            if _send(_connect(port), ("GET", "/v2/models/fuzzed/ready", b"", {})) == 200:
                return
        except OSError:
            time.sleep(0.2)
    raise SystemExit("the server did not get ready")


def _connect(port: int) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", port, timeout=60)


def _send(connection: http.client.HTTPConnection, request: Request) -> int:
    method, path, body, headers = request
    connection.request(method, path, body=body, headers={name: value.encode() for name, value in headers.items()})
    response = connection.getresponse()
    response.read()
    return response.status


def _attack(process: subprocess.Popen[bytes], *, requests: int, seed: int, port: int) -> int:
    draw, statuses = random.Random(seed), collections.Counter[object]()
    server, connection = psutil.Process(process.pid), _connect(port)
    memory: list[tuple[int, float]] = []
    failures: list[str] = []
    for number in range(requests):
        kind = KINDS[number % len(KINDS)]
        request = kind(draw)
        try:
            status: object = _send(connection, request)
        except (OSError, http.client.HTTPException) as error:
            status, connection = f"connection: {type(error).__name__}", _connect(port)
        statuses[status] += 1
        if not isinstance(status, int) or status >= 500:
            failures.append(f"{kind.__name__}: {status}: {request!r:.300}")
        if number in (int(WARM_UP * requests), requests - 1) or number % max(1, requests // 8) == 0:
            memory.append((number, server.memory_info().rss / 2**20))
    right = _send(_connect(port), ("POST", V1, b'{"instances": [{"text": "wake me at nine"}]}', {}))
    grown = memory[-1][1] - next(mib for number, mib in memory if number >= int(WARM_UP * requests))
    print(f"requests: {requests:,} of {len(KINDS)} kinds, seed {seed}")
    print("answered: " + ", ".join(f"{status}: {count:,}" for status, count in sorted(statuses.items(), key=str)))
    print("memory, MiB after requests: " + ", ".join(f"{number:,}: {mib:.0f}" for number, mib in memory))
    print(f"memory after warm-up: {grown:+.1f} MiB, allowed is {MAY_GROW_MIB:.0f}")
    print(f"a good request afterwards: {right}")
    print("\n".join(failures[:10]) or "no 5xx, no broken connection")
    return 0 if not failures and right == 200 and grown <= MAY_GROW_MIB and process.poll() is None else 1


if __name__ == "__main__":
    sys.exit(main())
