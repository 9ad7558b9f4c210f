"""What a server of Kubeflow Pipelines holds, and its rules, after backend/src/apiserver of KFP 2.17.0."""

from __future__ import annotations

import base64
import json
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote

import yaml

PAGE, LARGEST_PAGE = 20, 200
FILTERS = {
    "pipelines": {"pipeline_id", "id", "name", "display_name", "created_at", "description", "namespace"},
    "pipeline_versions": {"pipeline_version_id", "id", "name", "display_name", "created_at", "description"},
    "experiments": {"experiment_id", "id", "name", "display_name", "created_at", "namespace", "storage_state"},
    "runs": {
        "run_id",
        "id",
        "name",
        "display_name",
        "created_at",
        "finished_at",
        "storage_state",
        "state",
        "experiment_id",
    },
    "recurringRuns": {"recurring_run_id", "id", "name", "display_name", "created_at", "updated_at", "description"},
}
"""Keys that a list can be filtered and sorted by (model/*.go, `APIToModelFieldMap`)."""
BEGAN = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)


class Refused(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(message)


@dataclass
class Frame:
    """How a run stands at one look: its state, and its steps' by their names in the graph."""

    state: str
    steps: dict[str, str] = field(default_factory=dict)


@dataclass
class KfpState:
    """Everything that the server holds, by id; `frames` are how runs go on, one a look, the last for ever."""

    pipelines: dict[str, dict[str, Any]] = field(default_factory=dict)
    versions: dict[str, dict[str, Any]] = field(default_factory=dict)
    experiments: dict[str, dict[str, Any]] = field(default_factory=dict)
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    recurring: dict[str, dict[str, Any]] = field(default_factory=dict)
    frames: list[Frame] = field(default_factory=list)
    logs: dict[str, str] = field(default_factory=dict)
    retried: dict[str, int] = field(default_factory=dict)
    """Step to the number of its pods, where it was tried more than once."""

    def call(self, name: str, path: dict[str, str], query: dict[str, str], body: Any, *, multi_user: bool) -> Any:
        """Answer one operation."""
        calls: dict[str, Callable[[], Any]] = {
            "pipeline_service_create_pipeline": lambda: self._create_pipeline(body),
            "pipeline_service_list_pipelines": lambda: _page("pipelines", self.pipelines, query),
            "pipeline_service_list_pipeline_versions": lambda: _page(
                "pipeline_versions", self._versions_of(path["pipeline_id"]), query
            ),
            "pipeline_service_get_pipeline_version": lambda: _get(self.versions, path["pipeline_version_id"]),
            "upload_pipeline_version": lambda: self._upload(body, query),
            "experiment_service_create_experiment": lambda: self._create_experiment(body, multi_user=multi_user),
            "experiment_service_list_experiments": lambda: _page(
                "experiments", self._in_namespace(self.experiments, query, multi_user=multi_user), query
            ),
            "run_service_create_run": lambda: self._create_run(body),
            "run_service_get_run": lambda: self._look(path["run_id"]),
            "run_service_list_runs": lambda: _page("runs", _of_experiment(self.runs, query), query),
            "recurring_run_service_create_recurring_run": lambda: self._create_recurring(body),
            "recurring_run_service_list_recurring_runs": lambda: _page(
                "recurringRuns", _of_experiment(self.recurring, query), query
            ),
            "recurring_run_service_get_recurring_run": lambda: _get(self.recurring, path["recurring_run_id"]),
            "recurring_run_service_delete_recurring_run": lambda: self._delete_recurring(path["recurring_run_id"]),
        }
        if name not in calls:
            raise Refused(500, f"the server of the tests has no {name}")
        return calls[name]()

    def workflow(self, run: str) -> dict[str, Any]:
        """The Argo workflow of a run as far as its nodes go, from its last frame."""
        states = self.frames[0].steps if self.frames else {}
        name = f"{_slug(_get(self.runs, run)['display_name'])}-x7k2p"
        nodes: dict[str, Any] = {}
        for step in states:
            path, tries = f"{name}.root.{step}.executor", self.retried.get(step, 1)
            for attempt in range(tries):
                full = f"{path}({attempt})" if tries > 1 else path
                node = f"{name}-{sum(full.encode()):010d}"
                failed = attempt < tries - 1 or states[step] == "FAILED"
                nodes[node] = {
                    "id": node,
                    "name": full,
                    "displayName": full.rpartition(".")[2],
                    "type": "Pod",
                    "templateName": "retry-system-container-impl" if tries > 1 else "system-container-impl",
                    "phase": "Failed" if failed else "Succeeded",
                    "startedAt": (BEGAN + timedelta(minutes=attempt)).isoformat(),
                }
        metadata = {
            "name": name,
            "namespace": "kubeflow",
            "annotations": {"workflows.argoproj.io/pod-name-format": "v2"},
        }
        return {"apiVersion": "argoproj.io/v1alpha1", "metadata": metadata, "status": {"nodes": nodes}}

    def _create_pipeline(self, body: dict[str, Any]) -> dict[str, Any]:
        name = body.get("name") or body.get("display_name")
        if any(pipeline["name"] == name for pipeline in self.pipelines.values()):
            raise Refused(409, f"Failed to create a new pipeline: The name {name} already exist.")
        return _keep(self.pipelines, "pipeline_id", {**body, "name": name, "created_at": BEGAN.isoformat()})

    def _versions_of(self, pipeline: str) -> dict[str, dict[str, Any]]:
        _get(self.pipelines, pipeline)
        return {key: value for key, value in self.versions.items() if value["pipeline_id"] == pipeline}

    def _upload(self, package: str, query: dict[str, str]) -> dict[str, Any]:
        pipeline, name = query.get("pipelineid", ""), query["name"]
        if any(version["name"] == name for version in self._versions_of(pipeline).values()):
            raise Refused(409, f"Failed to create a pipeline version: The name {name} already exist.")
        spec, *platform = yaml.safe_load_all(package)
        if "root" not in spec or "deploymentSpec" not in spec:
            raise Refused(400, "Failed to create a pipeline version: unknown template format")
        value = {
            "pipeline_id": pipeline,
            "name": name,
            "display_name": name,
            "description": query.get("description", ""),
        }
        whole = {"pipeline_spec": spec, "platform_spec": platform[0]} if platform else spec
        return _keep(
            self.versions, "pipeline_version_id", {**value, "pipeline_spec": whole, "created_at": BEGAN.isoformat()}
        )

    def _create_experiment(self, body: dict[str, Any], *, multi_user: bool) -> dict[str, Any]:
        if multi_user and not body.get("namespace"):
            raise Refused(400, "Failed to create an experiment: Experiment has no namespace in multi-user mode")
        return _keep(self.experiments, "experiment_id", {**body, "created_at": BEGAN.isoformat()})

    def _in_namespace(
        self, kept: dict[str, dict[str, Any]], query: dict[str, str], *, multi_user: bool
    ) -> dict[str, dict[str, Any]]:
        namespace = query.get("namespace", "")
        if namespace and not multi_user:
            raise Refused(400, "In single-user mode, ListExperiment cannot filter by namespace.")
        return {key: value for key, value in kept.items() if value.get("namespace", "") == namespace}

    def _create_run(self, body: dict[str, Any]) -> dict[str, Any]:
        self._check_source(body)
        run = {**body, "state": "PENDING", "created_at": (BEGAN + timedelta(minutes=len(self.runs))).isoformat()}
        return _keep(self.runs, "run_id", run)

    def _check_source(self, body: dict[str, Any]) -> None:
        _get(self.experiments, body.get("experiment_id", ""))
        source = body.get("pipeline_version_reference") or {}
        version = _get(self.versions, source.get("pipeline_version_id", ""))
        if version["pipeline_id"] != source.get("pipeline_id"):
            raise Refused(400, "the pipeline version is not one of the pipeline")
        root = body.get("runtime_config", {}).get("pipeline_root", "")
        if root and not re.match(r"(s3|gs|minio)://[^/]+", root):
            raise Refused(400, f"unsupported pipeline root {root}")

    def _look(self, run: str) -> dict[str, Any]:
        told = dict(_get(self.runs, run))
        if self.frames:
            frame = self.frames.pop(0) if len(self.frames) > 1 else self.frames[0]
            told["state"] = self.runs[run]["state"] = frame.state
            told["run_details"] = {"task_details": _details(run, frame)}
        return told

    def _create_recurring(self, body: dict[str, Any]) -> dict[str, Any]:
        self._check_source(body)
        if not 1 <= int(body.get("max_concurrency", 0)) <= 10:
            raise Refused(400, "Max concurrency of a recurring run must be at least 1 and at most 10.")
        fields = body["trigger"]["cron_schedule"]["cron"].split()
        if len(fields) not in (5, 6):
            raise Refused(400, "Schedule cron is not a supported format(https://godoc.org/github.com/robfig/cron).")
        status = "ENABLED" if body.get("mode") == "ENABLE" else "DISABLED"
        whole = {**body, "max_concurrency": str(body["max_concurrency"]), "status": status}
        return _keep(self.recurring, "recurring_run_id", {**whole, "created_at": BEGAN.isoformat()})

    def _delete_recurring(self, recurring: str) -> dict[str, Any]:
        _get(self.recurring, recurring)
        del self.recurring[recurring]
        return {}


def _details(run: str, frame: Frame) -> list[dict[str, Any]]:
    """The nodes that KFP tells of a run: a driver, a graph and its executor for each step that has begun."""
    details = []
    for step, state in frame.steps.items():
        driver = "FAILED" if state == "DRIVER FAILED" else "RUNNING" if state == "PENDING" else "SUCCEEDED"
        nodes = {f"{step}-driver": driver}
        if state not in ("PENDING", "DRIVER FAILED"):
            nodes |= {step: state, "executor": state}
        for name, node_state in nodes.items():
            ended = node_state in ("SUCCEEDED", "FAILED", "SKIPPED")
            end = BEGAN + timedelta(seconds=75) if ended else datetime.fromtimestamp(0, tz=UTC)
            times = {"create_time": BEGAN.isoformat(), "start_time": BEGAN.isoformat(), "end_time": end.isoformat()}
            details.append(
                {"run_id": run, "task_id": str(uuid.uuid4()), "display_name": name, "state": node_state, **times}
            )
    return details


def _keep(kept: dict[str, dict[str, Any]], key: str, value: dict[str, Any]) -> dict[str, Any]:
    identity = str(uuid.uuid4())
    kept[identity] = {**{name: item for name, item in value.items() if item is not None}, key: identity}
    return kept[identity]


def _get(kept: dict[str, dict[str, Any]], identity: str) -> dict[str, Any]:
    if identity not in kept:
        raise Refused(404, f"ResourceNotFoundError: {identity or 'an empty id'} not found.")
    return kept[identity]


def _of_experiment(kept: dict[str, dict[str, Any]], query: dict[str, str]) -> dict[str, dict[str, Any]]:
    wanted = query.get("experiment_id")
    return {key: value for key, value in kept.items() if not wanted or value["experiment_id"] == wanted}


def _page(what: str, kept: dict[str, dict[str, Any]], query: dict[str, str]) -> dict[str, Any]:
    items = [value for value in kept.values() if _passes(what, value, query.get("filter", ""))]
    by, _, order = query.get("sort_by", "").partition(" ")
    if by and by not in FILTERS[what]:
        raise Refused(400, f"Invalid sorting field: {by!r}")
    if by:
        items.sort(key=lambda value: value.get(by, ""), reverse=order == "desc")
    size = min(int(query.get("page_size") or 0) or PAGE, LARGEST_PAGE)
    token = query.get("page_token", "")
    start = json.loads(base64.b64decode(token))["offset"] if token else 0
    page: dict[str, Any] = {what: items[start : start + size], "total_size": len(items)}
    if start + size < len(items):
        page["next_page_token"] = base64.b64encode(json.dumps({"offset": start + size}).encode()).decode()
    return {key: value for key, value in page.items() if value}


def _passes(what: str, value: dict[str, Any], encoded: str) -> bool:
    predicates = json.loads(unquote(encoded))["predicates"] if encoded else []
    for predicate in predicates:
        if predicate["key"] not in FILTERS[what]:
            raise Refused(400, f"no support for filtering on unrecognized field {predicate['key']!r}")
        if predicate["operation"] not in (1, "EQUALS"):
            raise Refused(500, "the server of the tests filters by EQUALS only")
        # KFP takes both spellings (`transformJSONForBackwardCompatibility`).
        wanted = predicate.get("string_value", predicate.get("stringValue"))
        if value.get(predicate["key"]) != wanted:
            return False
    return True


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
