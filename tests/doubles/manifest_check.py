"""Everything that is wrong with a set of Kubernetes manifests, before a cluster sees them.

Schemas strictly (built-in kinds by the API server's own OpenAPI, custom ones by their CRD and its CEL rules), what only
the API server knows (by a dry run), and what must hold between the objects.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import yaml
from crd_schema import CrdSchema
from jsonschema import Draft202012Validator
from kubernetes import client

Object = dict[str, Any]
LABELS = {"type": "object", "additionalProperties": {"type": "string"}}
SELECTOR = {
    "type": "object",
    "properties": {
        "matchLabels": LABELS,
        "matchExpressions": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["key", "operator"],
                "properties": {
                    "key": {"type": "string"},
                    "operator": {"type": "string", "enum": ["In", "NotIn", "Exists", "DoesNotExist"]},
                    "values": {"type": "array", "items": {"type": "string"}},
                },
            },
        },
    },
}
DURATION = {"type": "string", "pattern": r"^(0|(([0-9]+)h)?(([0-9]+)m)?(([0-9]+)s)?(([0-9]+)ms)?)$"}
POD_MONITOR = CrdSchema(
    "monitoring.coreos.com/v1",
    "PodMonitor",
    {
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": {
                "type": "object",
                "required": ["selector"],
                "properties": {
                    "selector": SELECTOR,
                    "podTargetLabels": {"type": "array", "items": {"type": "string"}},
                    "podMetricsEndpoints": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "properties": {
                                "portNumber": {"type": "integer", "minimum": 1, "maximum": 65535},
                                "path": {"type": "string"},
                                "interval": DURATION,
                                "scrapeTimeout": DURATION,
                            },
                        },
                    },
                },
            },
        },
    },
)
"""The fields of a PodMonitor that this project writes, as the Prometheus operator's CRD has them: the CRD itself is not
at hand where tests run."""

_S3 = {
    "type": "object",
    "required": ["endpoint", "credentials"],
    "additionalProperties": False,
    "properties": {
        "endpoint": {"type": "string", "pattern": "^[^/]+$"},
        "region": {"type": "string"},
        "disableSSL": {"type": "boolean"},
        "forcePathStyle": {"type": "boolean"},
        "maxRetries": {"type": "integer"},
        "credentials": {
            "type": "object",
            "additionalProperties": False,
            "required": ["fromEnv", "secretRef"],
            "properties": {
                "fromEnv": {"const": False},
                "secretRef": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["secretName", "accessKeyKey", "secretKeyKey"],
                    "properties": {key: {"type": "string"} for key in ("secretName", "accessKeyKey", "secretKeyKey")},
                },
            },
        },
    },
}
PROVIDERS = Draft202012Validator(
    {
        "type": "object",
        "additionalProperties": False,
        "required": ["s3"],
        "properties": {
            "s3": {
                "type": "object",
                "additionalProperties": False,
                "required": ["default"],
                "properties": {"default": _S3},
            }
        },
    }
)
"""`providers` of KFP's launcher (backend/src/v2/config/s3.go), keys by reference to a secret."""

HARDENED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
"""What Kubernetes' `restricted` profile asks of a container, and a root filesystem that cannot be written."""


@dataclass(frozen=True)
class ManifestCheck:
    """What manifests are held against.

    Attributes:
        api: of a real API server, in which the manifests' namespace exists.
        schemas: kind to schema.
        plurals: kind to the path part of its resource, of what the server knows.
    """

    api: client.ApiClient
    schemas: Mapping[str, CrdSchema]
    plurals: Mapping[str, str]

    def violations(self, objects: Sequence[Object]) -> list[str]:
        """A sentence on everything that is wrong."""
        found = []
        for value in objects:
            about = f"{value.get('kind')} {value.get('metadata', {}).get('name')}"
            of_schema = self._of_schema(value)
            # What the schema refuses is not sent: an old API server only answers "bad request" to it.
            found += [f"{about}: {told}" for told in of_schema or self._of_server(value)]
        return found + list(between(objects))

    def _of_schema(self, value: Object) -> list[str]:
        schema = self.schemas.get(str(value.get("kind")))
        return schema.violations(value) if schema else ["no schema of this kind is known"]

    def _of_server(self, value: Object) -> list[str]:
        plural = self.plurals.get(value["kind"])
        if plural is None or value["kind"] == "Namespace":
            return []
        version = value["apiVersion"]
        root = f"/apis/{version}" if "/" in version else f"/api/{version}"
        path = f"{root}/namespaces/{value['metadata'].get('namespace', 'default')}/{plural}"
        try:
            self.call("POST", f"{path}?dryRun=All", body=value)
        except client.ApiException as error:
            # Validation comes before the look for an object of that name.
            return [] if error.status == HTTPStatus.CONFLICT else [json.loads(error.body)["message"]]
        return []

    def resources(self) -> Iterator[tuple[str, Object]]:
        """Every resource and sub-resource that the server has, after its API group."""
        yield from (("", each) for each in self.call("GET", "/api/v1")["resources"])
        for group in self.call("GET", "/apis")["groups"]:
            for version in group["versions"]:
                listed = self.call("GET", f"/apis/{version['groupVersion']}")["resources"]
                yield from ((group["name"], each) for each in listed)

    def call(self, method: str, path: str, *, body: Object | None = None) -> Any:
        """The API server's answer, as JSON."""
        return self.api.call_api(
            path,
            method,
            header_params={"Content-Type": "application/json", "Accept": "application/json"},
            body=body,
            response_type="object",
            auth_settings=["BearerToken"],
            _return_http_data_only=True,
        )


def make_check(api: client.ApiClient, *, custom: Mapping[str, CrdSchema]) -> ManifestCheck:
    """A check by the API server behind `api` and by the schemas of custom resources."""
    check = ManifestCheck(api, {}, {})
    plurals = {each["kind"]: each["name"] for _, each in check.resources() if "/" not in each["name"]}
    schemas = built_in(check.call("GET", "/openapi/v2")["definitions"])
    return ManifestCheck(api, {**schemas, **custom, "PodMonitor": POD_MONITOR}, plurals)


BUILT_IN = {
    "v1": ("Namespace", "ServiceAccount", "ConfigMap", "Secret", "ResourceQuota", "LimitRange"),
    "rbac.authorization.k8s.io/v1": ("Role", "RoleBinding"),
    "networking.k8s.io/v1": ("NetworkPolicy",),
}


def built_in(definitions: Mapping[str, Any]) -> dict[str, CrdSchema]:
    """Kind to schema, of the kinds that are Kubernetes' own, out of an API server's OpenAPI."""
    schemas = {}
    for definition in definitions.values():
        for named in definition.get("x-kubernetes-group-version-kind", ()):
            version = f"{named['group']}/{named['version']}".lstrip("/")
            if named["kind"] in BUILT_IN.get(version, ()):
                schemas[named["kind"]] = CrdSchema(version, named["kind"], _inlined(definition, definitions))
    return schemas


def _inlined(node: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """A definition with every reference replaced by what it refers to, and `int-or-string` as CRDs write it."""
    if "$ref" in node:
        return _inlined(definitions[node["$ref"].rpartition("/")[2]], definitions)
    whole = dict(node)
    if node.get("format") == "int-or-string":
        del whole["type"]
        whole["x-kubernetes-int-or-string"] = True
    for key in ("items", "additionalProperties"):
        if isinstance(node.get(key), dict):
            whole[key] = _inlined(node[key], definitions)
    if "properties" in node:
        whole["properties"] = {name: _inlined(inner, definitions) for name, inner in node["properties"].items()}
    return whole


def between(objects: Sequence[Object]) -> Iterator[str]:
    """What is wrong between objects, or against what this project asks of every one of its own."""
    named = {(value.get("kind"), value.get("metadata", {}).get("name")) for value in objects}
    namespaces = {value.get("metadata", {}).get("namespace") for value in objects if value.get("kind") != "Namespace"}
    if namespaces != {name for kind, name in named if kind == "Namespace"}:
        yield f"the objects lie in {sorted(map(str, namespaces))}, which is not the one namespace that they bring"
    for value in objects:
        about = f"{value['kind']} {value['metadata']['name']}"
        yield from (f"{about}: {told}" for told in _of_kind(value, named, namespaces))
        for container in containers(value):
            yield from (f"{about}: container {container.get('name')}: {told}" for told in _unhardened(container))


def _of_kind(value: Object, named: set[Any], namespaces: set[Any]) -> Iterator[str]:
    if value["kind"] == "RoleBinding":
        if ("Role", value["roleRef"]["name"]) not in named:
            yield f"there is no Role {value['roleRef']['name']}"
        for subject in value["subjects"]:
            if ("ServiceAccount", subject["name"]) not in named or {subject.get("namespace")} != namespaces:
                yield f"there is no ServiceAccount {subject['name']} in namespace {subject.get('namespace')}"
    if value["kind"] == "Role":
        for rule in value["rules"]:
            yield from _too_much(rule)
    if value["kind"] == "Secret":
        yield "a secret does not belong into an overlay: applied again it would overwrite the keys"
    if value["kind"] == "ConfigMap" and value["metadata"]["name"] == "kfp-launcher":
        for error in PROVIDERS.iter_errors(yaml.safe_load(value["data"]["providers"])):
            yield f"providers: {error.json_path}: {error.message}"
    for account in _values(value, "serviceAccountName"):
        if ("ServiceAccount", account) not in named:
            yield f"there is no ServiceAccount {account}"


def _too_much(rule: Object) -> Iterator[str]:
    if "*" in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]:
        yield f"a rule allows everything of something: {rule}"
    if "secrets" in rule["resources"] and not rule.get("resourceNames"):
        yield "a rule allows to read every secret; name them in resourceNames"


def _unhardened(container: Object) -> Iterator[str]:
    context = container.get("securityContext", {})
    for key, wanted in HARDENED.items():
        if context.get(key) != wanted:
            yield f"securityContext.{key} is {context.get(key)}, required is {wanted}"
    if not any(mount["mountPath"] == "/tmp" for mount in container.get("volumeMounts", ())):
        yield "nothing is mounted at /tmp, and the rest of its filesystem cannot be written"


def containers(value: Any) -> Iterator[Object]:
    """Every container in an object, however deep."""
    for found in _values(value, "containers"):
        yield from found


def _values(value: Any, key: str) -> Iterator[Any]:
    if isinstance(value, dict):
        if key in value:
            yield value[key]
        for inner in value.values():
            yield from _values(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from _values(inner, key)
