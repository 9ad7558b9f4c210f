"""The published API of Kubeflow Pipelines, read off the client that its project generates from it.

`kfp-server-api` is made by the OpenAPI generator from `kfp_api_single_file.swagger.json`: its operations hold verbs,
paths, parameters and the types of answers, its models the types of every key. Requests and answers are checked against
those, so that neither this project nor the server of the tests speaks a KFP of its own invention.
"""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import unquote

import kfp_server_api
from kfp_server_api import api, models


class OffContract(AssertionError):
    """A request or an answer that the published API does not know."""


@dataclass(frozen=True)
class Operation:
    """One operation of the API.

    Attributes:
        name: as in the generated client, e.g. `run_service_get_run`.
        verb: GET, POST, ...
        path: with `{parameters}`.
        query: the parameters that it knows.
        body: type of the request's body; empty where it has none.
        files: parts of a form that it takes.
        answer: type of the answer.
    """

    name: str
    verb: str
    path: str
    query: frozenset[str]
    body: str
    files: frozenset[str]
    answer: str

    def match(self, path: str) -> dict[str, str] | None:
        """The path's parameters, or None where it is another operation's."""
        pattern = re.sub(r"\\{([\w.]+)\\}", _as_group, re.escape(self.path))
        found = re.fullmatch(pattern, path)
        return {name: unquote(value) for name, value in found.groupdict().items()} if found else None


def _as_group(parameter: re.Match[str]) -> str:
    return f"(?P<{parameter[1].replace('.', '_')}>[^/:]+)"


def operations() -> list[Operation]:
    """Every operation of the v2beta1 API."""
    found = []
    for service in vars(api).values():
        if inspect.isclass(service):
            for name, method in inspect.getmembers(service, inspect.isfunction):
                if name.endswith("_with_http_info"):
                    found.append(_operation(name.removesuffix("_with_http_info"), inspect.getsource(method)))
    return sorted(found, key=lambda operation: ("{" in operation.path, operation.path))


def _operation(name: str, source: str) -> Operation:
    path, verb = re.search(r"call_api\(\s*'([^']+)', '(\w+)'", source).groups()  # type: ignore[union-attr]
    body = re.search(r"body_params = local_var_params\['(\w+)'\]", source)
    body_type = re.search(rf":type {body[1]}: (\S+)", source)[1] if body else ""  # type: ignore[index]
    return Operation(
        name=name,
        verb=verb,
        path=path,
        query=frozenset(re.findall(r"query_params\.append\(\('([\w.]+)'", source)),
        body=body_type,
        files=frozenset(re.findall(r"local_var_files\['(\w+)'\] =", source)),
        answer=re.search(r"response_type='([^']+)'", source)[1],  # type: ignore[index]
    )


def check(value: Any, type_name: str, *, where: str) -> None:
    """Check a value of JSON against a type of the API: unknown keys, wrong types and unknown words are faults.

    Raises:
        OffContract: with the place.
    """
    if value is None or type_name == "object":
        return
    if inner := re.fullmatch(r"list\[(.+)\]", type_name):
        _expect(isinstance(value, list), where, "a list", value)
        for position, item in enumerate(value):
            check(item, inner[1], where=f"{where}[{position}]")
    elif inner := re.fullmatch(r"dict\(str, (.+)\)", type_name):
        _expect(isinstance(value, dict), where, "a mapping", value)
        for key, item in value.items():
            check(item, inner[1], where=f"{where}.{key}")
    elif type_name in _PLAIN:
        _expect(_PLAIN[type_name](value), where, type_name, value)
    else:
        _check_model(value, getattr(models, type_name), where=where)


def _check_model(value: Any, model: Any, *, where: str) -> None:
    if hasattr(model, "allowable_values"):
        _expect(value in model.allowable_values, where, f"one of {model.allowable_values}", value)
        return
    _expect(isinstance(value, dict), where, model.__name__, value)
    types = {key: model.openapi_types[name] for name, key in model.attribute_map.items()}
    types |= dict.fromkeys(_INT64 & types.keys(), "int64")
    for key, item in value.items():
        # An Any of protobuf holds its own keys beside its type.
        _expect(key in types or model is models.ProtobufAny, where, f"a key of {model.__name__}", key)
        check(item, types.get(key, "object"), where=f"{where}.{key}")


def _expect(holds: bool, where: str, what: str, found: Any) -> None:
    if not holds:
        raise OffContract(f"{where}: expected {what}, found {found!r}")


def _is_time(value: Any) -> bool:
    try:
        return datetime.fromisoformat(str(value)).tzinfo is not None
    except ValueError:
        return False


_PLAIN = {
    "int64": lambda value: str(value).lstrip("-").isdecimal() and not isinstance(value, bool | float),
    "str": lambda value: isinstance(value, str),
    "int": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "float": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "bool": lambda value: isinstance(value, bool),
    "datetime": _is_time,
}
_INT64 = {"execution_id", "interval_second", "max_concurrency", "pipeline_context_id", "pipeline_run_context_id"}
"""Keys of 64-bit integers: JSON of protobuf writes them as text and reads numbers too; the generator says text."""
VERSION = kfp_server_api.__version__
