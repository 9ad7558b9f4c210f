"""A client that keeps a number of HTTP requests in flight: what `benchmarks/serving.py` measures servers with.

Connections are kept alive, and little is done a request, so that the client costs few of the machine's cycles.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Load:
    """What a server did while requests were in flight.

    Attributes:
        milliseconds: of each request, from its first byte sent to its last byte received.
        seconds: of the whole.
    """

    milliseconds: tuple[float, ...]
    seconds: float

    @property
    def per_s(self) -> float:
        """Requests answered a second."""
        return len(self.milliseconds) / self.seconds

    def percentile(self, share: float) -> float:
        """Milliseconds that `share` of the requests took at most."""
        return float(np.quantile(self.milliseconds, share))


class _Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answered: asyncio.Future[bytes] | None = None
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    async def ask(self, request: bytes) -> bytes:
        """Send a request; return the whole response."""
        assert self._transport is not None
        self._answered, self._data = asyncio.get_running_loop().create_future(), b""
        self._transport.write(request)
        return await self._answered

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, separator, body = self._data.partition(b"\r\n\r\n")
        if separator and self._answered and not self._answered.done():
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
            if len(body) >= length:
                self._answered.set_result(self._data)

    def connection_lost(self, error: Exception | None) -> None:
        if self._answered and not self._answered.done():
            self._answered.set_exception(ConnectionError(f"the server closed the connection: {error}"))


def make_request(port: int, path: str, body: bytes) -> bytes:
    """A POST as it goes over the wire."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def put_under_load(
    requests: Sequence[Sequence[bytes]], *, ports: Sequence[int], concurrency: int, seconds: float
) -> Load:
    """Keep `concurrency` questions in flight for some seconds.

    Args:
        requests: questions, gone through over and over; each is a request for each of `ports`, sent at the same time,
            and is answered when all are.
        ports: of the servers.
        concurrency: questions in flight.
        seconds: for how long new ones are asked.

    Raises:
        ConnectionError: a server closed a connection, or answered other than 200.
    """
    return asyncio.run(_load(requests, ports=ports, concurrency=concurrency, seconds=seconds))


async def _load(requests: Sequence[Sequence[bytes]], *, ports: Sequence[int], concurrency: int, seconds: float) -> Load:
    times: list[float] = []
    questions = _around(requests)
    start = time.perf_counter()
    await asyncio.gather(*(_worker(questions, ports, until=start + seconds, times=times) for _ in range(concurrency)))
    return Load(tuple(times), time.perf_counter() - start)


def _around(requests: Sequence[Sequence[bytes]]) -> Iterator[Sequence[bytes]]:
    while True:
        yield from requests


async def _worker(
    questions: Iterator[Sequence[bytes]], ports: Sequence[int], *, until: float, times: list[float]
) -> None:
    loop = asyncio.get_running_loop()
    opened = [(await loop.create_connection(_Connection, "127.0.0.1", port)) for port in ports]
    connections = [connection for _, connection in opened]
    while time.perf_counter() < until:
        question = next(questions)
        start = time.perf_counter()
        if len(connections) == 1:
            responses = [await connections[0].ask(question[0])]
        else:
            responses = await asyncio.gather(*(c.ask(q) for c, q in zip(connections, question, strict=True)))
        times.append((time.perf_counter() - start) * 1000)
        for response in responses:
            if not response.startswith(b"HTTP/1.1 200"):
                raise ConnectionError(f"the server answered {response[:300]!r}")
    for transport, _ in opened:
        transport.close()
