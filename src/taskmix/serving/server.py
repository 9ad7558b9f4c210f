"""The KServe model server around a system: the only module that imports kserve.

Model, metrics, event loop, HTTP server and shutdown are kserve's. The routes are ours (`endpoints`), since kserve's own
(0.21) answer 500 to many faults of a client, read bodies without limit, let anyone unload the model, and say that they
are ready without one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import Any

from taskmix.errors import MissingExtra, ServingError
from taskmix.modeling.cores import usable_cores
from taskmix.modeling.system import System, load_system
from taskmix.serving.batching import Batcher, Bounds
from taskmix.serving.child import GRACE_S
from taskmix.serving.logs import REQUEST_LOG, JsonLines, WithoutMessages
from taskmix.serving.metrics import BATCH_TEXTS, QUEUE_TEXTS, AnswerCounter
from taskmix.serving.predictor import Instance, Limits, Prediction, predict


@contextlib.contextmanager
def _no_arguments() -> Iterator[None]:
    """Hide the command line: kserve parses it when imported, and would take `--h` or `--workers` for its own."""
    kept, sys.argv = sys.argv, sys.argv[:1]
    try:
        yield
    finally:
        sys.argv = kept


try:
    with _no_arguments():
        import kserve
        from kserve.errors import InvalidInput, ModelNotFound, ModelNotReady
        from kserve.logging import KSERVE_LOG_CONFIG, configure_logging
        from kserve.model_server import app

    from taskmix.serving.endpoints import add_endpoints
    from taskmix.serving.grpc import start_grpc
except ModuleNotFoundError as error:
    raise MissingExtra(f"serving needs the package '{error.name}'; pip install 'taskmix[serve]'") from error

log = logging.getLogger(__name__)

WARM_UP_TEXT = "one text before the first, so that nobody waits for caches and compilers"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


def _say(line: str) -> None:
    print(line, flush=True)


class ServedSystem(kserve.Model):  # type: ignore[misc]  # kserve has no types
    """A system as kserve's model: what it is called, whether it is ready, and its metrics.

    Args:
        system: what answers.
        name: what it is called in URLs.
        bounds: of the queue in front of it.
    """

    def __init__(self, system: System, *, name: str, bounds: Bounds | None = None) -> None:
        super().__init__(name)
        self.system = system
        self._counter = AnswerCounter(system.heads)
        self._batcher = Batcher(self._answer, bounds=(bounds or Bounds()).for_model(one_by_one=system.one_by_one))
        QUEUE_TEXTS.set_function(lambda: self._batcher.waiting)

    def _answer(self, instances: Sequence[Instance]) -> list[Prediction]:
        """Answer a batch, in the worker thread."""
        predictions = predict(self.system, instances)
        if self.ready:  # the warm-up is nobody's request
            BATCH_TEXTS.observe(len(instances))
            self._counter.count(predictions)
        return predictions

    def load(self) -> bool:
        """Answer one text; ready only after it."""
        warm_up = Instance(WARM_UP_TEXT, tuple(self.system.heads))
        self._batcher.submit((warm_up,)).result()
        self.ready = True
        return self.ready

    def start(self) -> None:
        """Nothing: `load` has made it ready; kserve's default would claim so whatever happened."""

    def stop(self) -> None:
        """Answer what is queued and end."""
        super().stop()
        self._batcher.close(timeout_s=GRACE_S)

    async def healthy(self) -> bool:
        """Whether it answers: warmed up, and its worker alive."""
        return self.ready and self._batcher.alive

    async def predict(
        self, payload: tuple[Instance, ...], headers: dict[str, str] | None = None, response_headers: Any = None
    ) -> list[Prediction]:
        """Answer valid instances; the event loop stays free meanwhile."""
        return await asyncio.wrap_future(self._batcher.submit(payload))


class LoopbackServer(kserve.ModelServer):  # type: ignore[misc]
    """kserve's server, listening where it is told: kserve 0.21 knows 0.0.0.0 only."""

    def __init__(
        self, *, host: str, port: int, on_listening: Callable[[], None], grpc: Callable[[], Awaitable[Any]] | None
    ) -> None:
        super().__init__(http_port=port, workers=1, enable_grpc=False, grace_period=GRACE_S)
        self._host = host
        self._on_listening = on_listening
        self._grpc = grpc

    async def _serve(self) -> None:
        self._rest_server.config.host = self._host
        beside = await self._grpc() if self._grpc else None
        await asyncio.gather(super()._serve(), self._announce())
        if beside:
            await beside.stop(GRACE_S)

    async def _announce(self) -> None:
        while not self._rest_server._server.started:
            await asyncio.sleep(0.02)
        self._on_listening()


def serve_system(
    system: System,
    *,
    name: str,
    host: str = "127.0.0.1",
    port: int = 8080,
    grpc_port: int | None = None,
    limits: Limits | None = None,
    bounds: Bounds | None = None,
    announce: Callable[[str], None] = _say,
) -> None:
    """Serve `system` until SIGTERM or Ctrl-C; returns once the requests in flight are answered.

    Args:
        system: what answers.
        name: what the model is called in URLs.
        host: the address to listen on; 0.0.0.0 for all.
        port: the port to listen on.
        grpc_port: the port to listen on for gRPC; null serves none.
        limits: on requests.
        bounds: of what waits and of what is answered together.
        announce: gets a curl line to try, once the server listens.

    Raises:
        ServingError: the port is taken, or `name` cannot stand in a URL.
    """
    check_address(name, host, port)
    limits = limits or Limits()
    model = ServedSystem(system, name=name, bounds=bounds)
    model.load()
    add_endpoints(app, model, limits=limits)
    ours = list(app.router.routes)

    @contextlib.asynccontextmanager
    async def drop_kserve_routes(_: Any) -> AsyncIterator[None]:
        app.router.routes[:] = ours  # runs after kserve has added its own, and before the first request
        yield

    app.router.lifespan_context = drop_kserve_routes
    log.info(
        "serving system=%s name=%s host=%s port=%d tasks=%s", system.name, name, host, port, ",".join(system.heads)
    )
    server = LoopbackServer(
        host=host,
        port=port,
        on_listening=lambda: announce(curl_line(system, name, host, port)),
        grpc=None if grpc_port is None else partial(start_grpc, model, limits=limits, host=host, port=grpc_port),
    )
    server.start([model])


def serve(
    system: str,
    *,
    name: str,
    host: str = "127.0.0.1",
    port: int = 8080,
    grpc_port: int | None = None,
    limits: Limits | None = None,
    bounds: Bounds | None = None,
    json_lines: bool = False,
    log_requests: bool = False,
    announce: Callable[[str], None] | None = None,
) -> None:
    """Load the system that the URI `system` names and serve it.

    See `serve_system`, `load_system` and, for `json_lines` and `log_requests`, `configure_server_logging`. With
    `json_lines` the curl line to try is an event of the log unless `announce` takes it.
    """
    check_address(name, host, port)
    if grpc_port is not None:
        check_address(name, host, grpc_port)
    configure_server_logging(json_lines=json_lines, requests=log_requests)
    limit_threads()
    previous = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # also while it loads
    try:
        started = time.monotonic()
        loaded = load_system(system)
        log.info("loaded system=%s bundles=%d seconds=%.1f", loaded.name, len(loaded.parts), time.monotonic() - started)
        serve_system(
            loaded,
            name=name,
            host=host,
            port=port,
            grpc_port=grpc_port,
            limits=limits,
            bounds=bounds,
            announce=announce or (partial(log.info, "to try it: %s") if json_lines else _say),
        )
    finally:
        signal.signal(signal.SIGTERM, previous)


def check_address(name: str, host: str, port: int) -> None:
    """Find out early, before minutes of loading, that the model cannot be served under this name and port.

    Raises:
        ServingError: the port is taken or not ours to take, or the name cannot stand in a URL.
    """
    if not NAME.fullmatch(name):
        raise ServingError(f"--name {name!r}: cannot stand in a URL; allowed are up to 63 of A-Z a-z 0-9 . _ -")
    if not 0 < port < 2**16:
        raise ServingError(f"--port {port}: is no port; allowed is 1 to 65535")
    try:
        with socket.create_server((host, port)):
            pass
    except OSError as error:
        reason = error.strerror or str(error)
        raise ServingError(f"port {port} of {host}: cannot be listened on: {reason}; choose another --port") from None


def limit_threads() -> None:
    """Let torch start no more threads than this process may use cores; a container may use fewer than it sees."""
    import torch

    torch.set_num_threads(usable_cores())


def curl_line(system: System, name: str, host: str, port: int) -> str:
    """A command that asks the server one text."""
    address = "127.0.0.1" if host in ("0.0.0.0", "::") else host
    body = '{"instances": [{"text": "wake me at nine"}]}'
    return f"curl http://{address}:{port}/v1/models/{name}:predict -H 'Content-Type: application/json' -d '{body}'"


class _Expected(logging.Filter):
    """Leaves out kserve's tracebacks for what a client did wrong: he has been told, and anyone could fill the log."""

    def filter(self, record: logging.LogRecord) -> bool:
        raised = record.exc_info[1] if record.exc_info else None
        return not isinstance(raised, InvalidInput | ModelNotFound | ModelNotReady)


def configure_server_logging(*, json_lines: bool = False, requests: bool = False) -> None:
    """Log on standard error, without a line a request unless asked for, and without what an error says.

    Args:
        json_lines: an object an event (`logs.JsonLines`), rather than lines as kserve writes them.
        requests: tell each request: protocol, status, milliseconds; never a text.
    """
    handler = "json" if json_lines else "kserve"
    loggers = {
        **KSERVE_LOG_CONFIG["loggers"],
        "kserve": {"handlers": [handler], "level": "WARNING", "propagate": False},
        "kserve.trace": {"level": "WARNING"},
        "uvicorn": {"handlers": ["json" if json_lines else "uvicorn"], "level": "WARNING", "propagate": False},
        "uvicorn.error": {"level": "WARNING"},
        "uvicorn.access": {"level": "WARNING"},
        "taskmix": {"handlers": [handler], "level": "INFO", "propagate": False},
        REQUEST_LOG: {"level": "INFO" if requests else "WARNING"},
    }
    formatters = {**KSERVE_LOG_CONFIG["formatters"], "json": {"()": JsonLines}}
    stream = {"class": "logging.StreamHandler", "formatter": "json", "stream": "ext://sys.stderr"}
    lines = {name: {**each, "filters": ["careful"]} for name, each in KSERVE_LOG_CONFIG["handlers"].items()}
    changed = {
        "formatters": formatters,
        "handlers": {**lines, "json": stream},
        "loggers": loggers,
        "filters": {"careful": {"()": WithoutMessages}},
        "root": {"handlers": [handler], "level": "WARNING"},
    }
    logging.captureWarnings(json_lines)
    configure_logging({**KSERVE_LOG_CONFIG, **changed})
    logging.getLogger("kserve").addFilter(_Expected())
