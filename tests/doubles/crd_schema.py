"""The schema of a custom resource, strictly: unknown fields, wrong types and broken CEL rules are told.

An API server drops fields that a CRD does not know: a mistyped key would pass it unnoticed; and old ones know no CEL.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import celpy
import yaml
from celpy.adapter import json_to_cel
from jsonschema import Draft202012Validator

STRINGS = {"type": "object", "additionalProperties": {"type": "string"}}
LABEL = r"^(|[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)$"
METADATA = {
    "type": "object",
    "required": ["name"],
    "additionalProperties": False,
    "properties": {
        "name": {"type": "string", "maxLength": 253, "pattern": r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"},
        "namespace": {"type": "string", "maxLength": 63, "pattern": r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"},
        "labels": {"type": "object", "additionalProperties": {"type": "string", "pattern": LABEL}},
        "annotations": STRINGS,
        "resourceVersion": {"type": "string"},
        "uid": {"type": "string"},
        "generation": {"type": "integer"},
        "creationTimestamp": {"type": "string"},
        "deletionTimestamp": {"type": "string"},
        "finalizers": {"type": "array", "items": {"type": "string"}},
        "managedFields": {"type": "array"},
        "ownerReferences": {"type": "array"},
    },
}
"""Kubernetes' ObjectMeta as far as this project writes and reads it; no CRD holds it."""

_KEPT = ("type", "enum", "pattern", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "required")


@dataclass(frozen=True)
class CrdSchema:
    """One version of one kind.

    Attributes:
        api_version: group and version, e.g. `serving.kserve.io/v1beta1`.
        kind: e.g. `InferenceService`.
        schema: its OpenAPI schema, as the CRD holds it.
    """

    api_version: str
    kind: str
    schema: Mapping[str, Any]

    @cached_property
    def _validator(self) -> Draft202012Validator:
        return Draft202012Validator(_strict(self.schema, top=True))

    def violations(self, value: Mapping[str, Any], *, old: Mapping[str, Any] | None = None) -> list[str]:
        """A sentence on everything that is wrong with an object of this kind.

        Args:
            value: the object.
            old: what it replaces; null where it is new. Rules of transition need it.
        """
        found = [f"{_where(error.absolute_path)}: {error.message}" for error in self._validator.iter_errors(value)]
        if (value.get("apiVersion"), value.get("kind")) != (self.api_version, self.kind):
            found.append(f"is {value.get('apiVersion')} {value.get('kind')}, not {self.api_version} {self.kind}")
        found += _beyond_json_schema(self.schema, value, old=old, path="")
        return sorted(found)


def load_schemas(folder: Path) -> dict[str, CrdSchema]:
    """Kind to schema, of all the CustomResourceDefinitions in the YAML files of a folder."""
    schemas = {}
    for path in sorted(folder.glob("*.yaml")):
        for value in yaml.load_all(path.read_bytes(), Loader=yaml.CSafeLoader):
            if value:
                spec = value["spec"]
                kind, newest = spec["names"]["kind"], spec["versions"][-1]
                schema = newest["schema"]["openAPIV3Schema"]
                schemas[kind] = CrdSchema(f"{spec['group']}/{newest['name']}", kind, schema)
    return schemas


def _strict(node: Mapping[str, Any], *, top: bool = False) -> dict[str, Any]:
    """JSON Schema of a structural schema in which a field that is not named is an error."""
    strict: dict[str, Any] = {key: node[key] for key in _KEPT if key in node}
    if node.get("x-kubernetes-int-or-string"):
        strict["type"] = ["integer", "string"]
    if "items" in node:
        strict["items"] = _strict(node["items"])
    if node.get("x-kubernetes-list-type") == "set":
        strict["uniqueItems"] = True
    if isinstance(node.get("additionalProperties"), dict):
        strict["additionalProperties"] = _strict(node["additionalProperties"])
    elif "properties" in node and not node.get("x-kubernetes-preserve-unknown-fields"):
        strict["additionalProperties"] = False
    if "properties" in node:
        strict["properties"] = {name: _strict(inner) for name, inner in node["properties"].items()}
    if top:
        strict["properties"]["metadata"] = METADATA
        strict["required"] = [*node.get("required", ()), "apiVersion", "kind", "metadata"]
    if node.get("nullable") and isinstance(strict.get("type"), str):
        strict["type"] = [strict["type"], "null"]
    return strict


def _beyond_json_schema(node: Mapping[str, Any], value: Any, *, old: Any, path: str) -> Iterator[str]:
    """What JSON Schema cannot say: CEL rules, and the keys by which the entries of a list are told apart."""
    for rule in node.get("x-kubernetes-validations", ()):
        yield from _broken(rule, value, old=old, path=path)
    if isinstance(value, dict):
        for name, inner in value.items():
            schema = node.get("properties", {}).get(name) or node.get("additionalProperties")
            if isinstance(schema, dict):
                before = old.get(name) if isinstance(old, dict) else None
                yield from _beyond_json_schema(schema, inner, old=before, path=f"{path}.{name}".lstrip("."))
    if isinstance(value, list):
        keys = node.get("x-kubernetes-list-map-keys", ())
        seen = [tuple(entry.get(key) for key in keys) for entry in value if keys and isinstance(entry, dict)]
        yield from (f"{path}: two entries have {dict(zip(keys, key, strict=True))}" for key in _repeated(seen))
        for position, entry in enumerate(value):
            yield from _beyond_json_schema(node.get("items", {}), entry, old=None, path=f"{path}[{position}]")


def _broken(rule: Mapping[str, str], value: Any, *, old: Any, path: str) -> Iterator[str]:
    text = rule["rule"]
    if "oldSelf" in text and old is None:
        return
    environment = celpy.Environment()
    program = environment.program(environment.compile(text))
    try:
        holds = program.evaluate({"self": json_to_cel(value), "oldSelf": json_to_cel(old)})
    except celpy.CELEvalError as error:
        yield f"{path or 'the object'}: rule {text!r} cannot be evaluated: {error}"
        return
    if not holds:
        yield f"{path or 'the object'}: {rule.get('message', text)}"


def _repeated(keys: list[Any]) -> Iterator[Any]:
    yield from {key: None for position, key in enumerate(keys) if key in keys[:position]}


def _where(path: Any) -> str:
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return where.lstrip(".") or "the object"
