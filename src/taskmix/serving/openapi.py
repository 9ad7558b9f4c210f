"""What `/openapi.json` says of requests and responses; the routes read bodies themselves, so FastAPI cannot know."""

from __future__ import annotations

from typing import Any

_STRING = {"type": "string"}
_FAULT = {
    "type": "object",
    "properties": {"error": _STRING, "faults": {"type": "array", "items": _STRING}},
    "required": ["error"],
}
_INSTANCE = {
    "type": "object",
    "properties": {
        "text": _STRING,
        "tasks": {"type": ["array", "null"], "items": _STRING, "minItems": 1, "description": "those to ask; else all"},
        "top_k": {"type": ["integer", "null"], "minimum": 1, "description": "also tell the k most probable labels"},
    },
    "required": ["text"],
    "additionalProperties": False,
}
_PREDICT = {
    "type": "object",
    "properties": {"instances": {"type": "array", "items": _INSTANCE}},
    "required": ["instances"],
    "additionalProperties": False,
}
_TENSOR = {
    "type": "object",
    "properties": {
        "name": {"const": "text"},
        "datatype": {"const": "BYTES"},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1, "maxItems": 2},
        "data": {"type": "array"},
        "parameters": {"type": "object"},
    },
    "required": ["name", "datatype", "shape"],
}
_INFER = {
    "type": "object",
    "properties": {
        "id": _STRING,
        "inputs": {"type": "array", "items": _TENSOR, "minItems": 1, "maxItems": 1},
        "parameters": {
            "type": "object",
            "properties": {
                "tasks": {**_STRING, "description": "parted by commas; else all"},
                "top_k": {"type": "integer", "minimum": 1},
            },
        },
        "outputs": {"type": "array", "items": {"type": "object", "properties": {"name": _STRING}}},
    },
    "required": ["inputs"],
}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": schema}}}


def _body(schema: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": True, **_json(schema)}}


PREDICT_BODY = _body(_PREDICT)
"""The request of `/v1/models/<name>:predict`."""
INFER_BODY = _body(_INFER)
"""The request of `/v2/models/<name>/infer`."""
METRICS: dict[int | str, dict[str, Any]] = {
    200: {"description": "Prometheus' text", "content": {"text/plain": {}, "application/openmetrics-text": {}}}
}
NOT_FOUND: dict[int | str, dict[str, Any]] = {404: {"description": "no such model", **_json(_FAULT)}}
NOT_READY: dict[int | str, dict[str, Any]] = {503: {"description": "not ready"}}
REFUSALS: dict[int | str, dict[str, Any]] = {
    **NOT_FOUND,
    400: {"description": "the request's fault: what, where, and what is allowed", **_json(_FAULT)},
    413: {"description": "too large, or too many texts", **_json(_FAULT)},
    500: {"description": "the model failed on a text", **_json(_FAULT)},
    503: {"description": "too many texts wait; ask again after Retry-After seconds", **_json(_FAULT)},
}
