"""The HTTP routes: V1, the Open Inference Protocol (V2), health and metrics, on kserve's FastAPI application.

Every fault of a client is answered with a 4xx and `{"error": ..., "faults": [...]}`; texts never reach a log.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Mapping
from typing import Any, Protocol, TypeVar

import orjson
from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import Response
from prometheus_client import REGISTRY, exposition

from taskmix import __version__
from taskmix.errors import Overloaded, RequestError, ServingError
from taskmix.modeling.system import System
from taskmix.serving.logs import REQUEST_LOG
from taskmix.serving.metrics import count_request
from taskmix.serving.open_inference import input_types, output_types, parse_infer, render_infer
from taskmix.serving.openapi import INFER_BODY, METRICS, NOT_FOUND, NOT_READY, PREDICT_BODY, REFUSALS
from taskmix.serving.predictor import Instance, Limits, Prediction, parse_instances, show

log = logging.getLogger(REQUEST_LOG)

DRAIN_FACTOR = 8
"""Of a body over the limit, so many limits are read and thrown away, so that an honest client hears why."""
RETRY_AFTER_S = 1
"""When to ask again, if the server is overloaded. Arbitrary."""


Reply = TypeVar("Reply")


class Endpoint(Protocol):
    """What the routes need of a model; `server.ServedSystem` is one."""

    name: str
    system: System

    async def healthy(self) -> bool:
        """Whether it answers."""
        ...

    async def __call__(self, body: tuple[Instance, ...]) -> tuple[list[Prediction], dict[str, str]]:
        """Predictions of instances, and headers for the response."""
        ...


def add_endpoints(app: FastAPI, model: Endpoint, *, limits: Limits) -> None:
    """Add the routes and the handlers of their faults to `app`."""
    app.include_router(_reading_routes(model))
    app.include_router(_asking_routes(model, limits=limits))
    app.add_exception_handler(RequestError, _tell_fault)
    app.add_exception_handler(ServingError, _tell_failure)


def describe(model: Endpoint, *, ready: bool) -> dict[str, Any]:
    """What `GET /v1/models/<name>` tells: kserve's name and readiness, and what can be asked."""
    system = model.system
    tasks = {task: {"type": head.type, "labels": list(head.labels.labels)} for task, head in system.heads.items()}
    bundles = [{"manifest": part.manifest, "tasks": list(part.tasks), "backend": part.backend} for part in system.parts]
    return {"name": model.name, "ready": ready, "system": system.name, "tasks": tasks, "bundles": bundles}


def _reading_routes(model: Endpoint) -> APIRouter:
    router = APIRouter()

    @router.get("/")
    @router.get("/v2/health/live")
    async def live() -> Response:
        return _json({"live": True})

    @router.get("/v2/health/ready", responses=NOT_READY)
    async def server_ready() -> Response:
        ready = await model.healthy()
        return _json({"ready": ready}, status=200 if ready else 503)

    @router.get("/metrics", response_class=Response, responses=METRICS)
    async def metrics(request: Request) -> Response:
        encode, content_type = exposition.choose_encoder(request.headers.get("accept", ""))
        return Response(encode(REGISTRY), headers={"content-type": content_type})

    @router.get("/v1/models")
    @router.get("/v2/models")
    async def models() -> Response:
        return _json({"models": [model.name]})

    @router.get("/v1/models/{name}", responses={**NOT_FOUND, **NOT_READY})
    async def about(name: str) -> Response:
        check_name(name, model)
        ready = await model.healthy()
        return _json(describe(model, ready=ready), status=200 if ready else 503)

    @router.get("/v2")
    async def server() -> Response:
        return _json({"name": "taskmix", "version": __version__, "extensions": ["binary_tensor_data"]})

    @router.get("/v2/models/{name}", responses=NOT_FOUND)
    async def metadata(name: str) -> Response:
        check_name(name, model)
        tensors = {"inputs": input_types(), "outputs": output_types(model.system.heads)}
        return _json({"name": name, "platform": "taskmix", **tensors})

    @router.get("/v2/models/{name}/ready", responses={**NOT_FOUND, **NOT_READY})
    async def ready(name: str) -> Response:
        check_name(name, model)
        ready = await model.healthy()
        return _json({"name": name, "ready": ready}, status=200 if ready else 503)

    return router


def _asking_routes(model: Endpoint, *, limits: Limits) -> APIRouter:
    router = APIRouter()
    heads = model.system.heads

    @router.post("/v1/models/{name}:predict", openapi_extra=PREDICT_BODY, responses=REFUSALS)
    async def predict(name: str, request: Request) -> Response:
        return await counted("v1", answer_v1(name, request))

    @router.post("/v2/models/{name}/infer", openapi_extra=INFER_BODY, responses=REFUSALS)
    async def infer(name: str, request: Request) -> Response:
        return await counted("v2", answer_v2(name, request))

    async def answer_v1(name: str, request: Request) -> Response:
        check_name(name, model)
        body = _parse_json(await read_body(request, max_bytes=limits.max_body_bytes))
        predictions, _ = await model(parse_instances(body, tasks=heads, limits=limits))
        return _json({"predictions": predictions})

    async def answer_v2(name: str, request: Request) -> Response:
        check_name(name, model)
        raw = await read_body(request, max_bytes=limits.max_body_bytes)
        text, binary = _split_binary(raw, request.headers)
        parsed = parse_infer(_parse_json(text), binary=binary, heads=heads, limits=limits)
        predictions, _ = await model(parsed.instances)
        return _json(render_infer(predictions, parsed, name=name, heads=heads))

    return router


async def counted(protocol: str, answering: Awaitable[Reply]) -> Reply:
    """Await an answer to a request; count it, whatever comes of it."""
    started, status = time.perf_counter(), 500
    try:
        reply = await answering
        status = 200
        return reply
    except RequestError as error:
        status = error.status
        raise
    except Overloaded:
        status = 503
        raise
    finally:
        seconds = time.perf_counter() - started
        count_request(protocol, status=status, seconds=seconds)
        if log.isEnabledFor(logging.INFO):
            fields = {"protocol": protocol, "status": status, "ms": round(seconds * 1000, 1)}
            log.info("request protocol=%(protocol)s status=%(status)d ms=%(ms).1f", fields, extra={"fields": fields})


def check_name(name: str, model: Endpoint) -> None:
    """Find out that a request means another model.

    Raises:
        RequestError: it does; status 404.
    """
    if name != model.name:
        raise RequestError([f"model: found {show(name)}; allowed is '{model.name}'"], status=404)


async def read_body(request: Request, *, max_bytes: int) -> bytes:
    """The request's body.

    Raises:
        RequestError: it is larger than `max_bytes`; some of the rest is read and thrown away, never kept.
    """
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size <= max_bytes:
            chunks.append(chunk)
        else:
            chunks.clear()
        if size > DRAIN_FACTOR * max_bytes:
            break
    if size > max_bytes:
        found = request.headers.get("content-length", f"more than {max_bytes}")
        raise RequestError(
            [f"the body: found {found} bytes; allowed are {max_bytes}: send several requests"], status=413
        )
    return b"".join(chunks)


def _parse_json(raw: bytes) -> object:
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:  # its message tells the place, and quotes nothing
        raise RequestError([f"the body: found no JSON in UTF-8: {error.msg} at character {error.pos}"]) from None


def _split_binary(raw: bytes, headers: Mapping[str, str]) -> tuple[bytes, bytes]:
    """A V2 body's JSON, and the tensors behind it where a header tells the JSON's length (binary tensor extension)."""
    header = "inference-header-content-length"
    if header not in headers:
        return raw, b""
    value = headers[header]
    if not (value.isascii() and value.isdigit() and len(value) < 12 and int(value) <= len(raw)):
        raise RequestError(
            [f"{header}: found {value[:20]!r}; allowed is a number from 0 to {len(raw)}, the body's bytes"]
        )
    return raw[: int(value)], raw[int(value) :]


def _json(content: object, *, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status_code=status, media_type="application/json")


async def _tell_fault(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    return _json({"error": str(error), "faults": error.faults}, status=error.status)


async def _tell_failure(_: Request, error: Exception) -> Response:
    if not isinstance(error, Overloaded):
        return _json({"error": str(error)}, status=500)
    response = _json({"error": str(error)}, status=503)
    response.headers["Retry-After"] = str(RETRY_AFTER_S)
    return response
