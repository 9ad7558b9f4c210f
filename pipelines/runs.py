"""Runs that are on the cluster already: the latest of them, and what one of their steps has printed.

KFP's v2beta1 API tells neither a step's pod nor its log. The pods of a run stand in its Argo workflow, which the API
before it (v1beta1, served by 2.17 too) gives; a pod's log comes from the user interface's server, as in the browser, or
from the API server itself where the host is that.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import httpx

from taskmix.config.wording import unknown
from taskmix.errors import PipelineServiceError
from taskmix_pipelines.connection import Connection, open_http
from taskmix_pipelines.follow import duration
from taskmix_pipelines.steps import ENDED, Step, steps_of
from taskmix_pipelines.submit import calls, named

if TYPE_CHECKING:
    from kfp import Client
    from rich.table import Table

_NOT_YET = 2000
"""KFP tells the year 1 or 1970 for a time that has not come."""


@dataclass(frozen=True)
class Pod:
    """One try of a step.

    Attributes:
        name: the pod's.
        phase: Argo's word: Pending, Running, Succeeded, Failed, Error.
        started: when, as Argo writes it; sorts by time.
    """

    name: str
    phase: str
    started: str


def latest_runs(client: Client, *, connection: Connection, experiment: str | None, count: int) -> list[Any]:
    """The latest runs, newest first, of one experiment or of all.

    Raises:
        PipelineServiceError: there is no such experiment, or Kubeflow Pipelines refuses.
    """
    namespace = connection.namespace or None
    with calls("the runs could not be listed"):
        identity = None
        if experiment is not None:
            found = client.list_experiments(filter=named(experiment), namespace=namespace).experiments
            if not found:
                raise PipelineServiceError(f"no experiment is called {experiment!r}; taskmix runs lists those of all")
            identity = found[0].experiment_id
        return (
            client.list_runs(
                page_size=count, sort_by="created_at desc", experiment_id=identity, namespace=namespace
            ).runs
            or []
        )


def runs_table(runs: Sequence[Any]) -> Table:
    """Runs with their states, times and ids."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for column in ("run", "state", "created", "took", "id"):
        table.add_column(column, overflow="fold")
    for run in runs:
        by = "by schedule: " if run.recurring_run_id else ""
        table.add_row(
            by + escape(run.display_name),
            (run.state or "").lower(),
            f"{run.created_at:%Y-%m-%d %H:%M}",
            _took(run),
            run.run_id,
        )
    return table


def _took(run: Any) -> str:
    ended = run.finished_at if run.state in ENDED and run.finished_at and run.finished_at.year > _NOT_YET else None
    return duration(((ended or datetime.now(UTC)) - run.created_at).total_seconds()) if run.created_at else ""


def run_steps(client: Client, run: str) -> tuple[Step, ...]:
    """The steps of a run, from the pipeline version that it runs.

    Raises:
        PipelineServiceError: there is no such run.
    """
    with calls(f"run {run} could not be read"):
        told = client.get_run(run)
        source = told.pipeline_version_reference
        spec = told.pipeline_spec
        if source is not None:
            spec = client.get_pipeline_version(source.pipeline_id, source.pipeline_version_id).pipeline_spec
    # Beside a platform's part (node selectors, ...) the graph lies one key deeper.
    return steps_of(spec.get("pipeline_spec", spec))


def find_step(steps: Sequence[Step], wanted: str) -> Step:
    """The step of a title ("finetune minilm [intent]") or of a name in the graph (`finetune-3`).

    Raises:
        PipelineServiceError: there is none; tells the nearest.
    """
    for step in steps:
        if wanted in (step.title, step.key):
            return step
    raise PipelineServiceError(f"step: {unknown(wanted, [step.title for step in steps], what='step')}")


def read_log(run: str, step: Step, *, connection: Connection) -> Iterator[str]:
    """What a step has printed, one text a try, oldest first, each under a line that names its pod.

    Raises:
        PipelineServiceError: the step has no pod (not begun, or its result came from KFP's cache), or the log is gone.
    """
    with open_http(connection) as http:
        workflow = _workflow(http, run)
        pods = pods_of(workflow, step)
        if not pods:
            raise PipelineServiceError(
                f"step '{step.title}' of run {run} has no pod: it has not begun, was skipped, or its result came from "
                "KFP's cache"
            )
        for number, pod in enumerate(pods, start=1):
            yield f"--- try {number} of {len(pods)}, {pod.phase.lower()}, pod {pod.name}\n"
            yield _pod_log(http, run, pod, namespace=workflow["metadata"].get("namespace", ""))


def pods_of(workflow: Mapping[str, Any], step: Step) -> list[Pod]:
    """The pods that ran a step, one a try, oldest first.

    An executor's node is called `<workflow>.<graph...>.<step>.executor`, with `(<try>)` behind it where it may be tried
    again (argocompiler/container.go).
    """
    metadata = workflow["metadata"]
    pods = []
    for node in workflow.get("status", {}).get("nodes", {}).values():
        parent, _, last = node["name"].rpartition(".")
        if node["type"] == "Pod" and last.startswith("executor") and parent.rpartition(".")[2] == step.key:
            pods.append(Pod(_pod_name(metadata, node), node.get("phase", ""), node.get("startedAt") or ""))
    return sorted(pods, key=lambda pod: pod.started)


def _pod_name(metadata: Mapping[str, Any], node: Mapping[str, Any]) -> str:
    """Argo's name of a node's pod: since 3.4 workflow, template and the node's hash, before that the node's id."""
    if metadata.get("annotations", {}).get("workflows.argoproj.io/pod-name-format") == "v1":
        return str(node["id"])
    template = node.get("templateName") or node["templateRef"]["template"]
    return f"{metadata['name']}-{template}-{node['id'].rpartition('-')[2]}"


def _workflow(http: httpx.Client, run: str) -> dict[str, Any]:
    answer = _get(http, f"/apis/v1beta1/runs/{run}", {})
    try:
        workflow: dict[str, Any] = json.loads(answer.json()["pipeline_runtime"]["workflow_manifest"])
    except (ValueError, KeyError, TypeError):
        raise PipelineServiceError(
            f"the server does not tell the pods of run {run} (HTTP {answer.status_code} for /apis/v1beta1/runs); read "
            f"them with kubectl: kubectl logs -l pipeline/runid={run} -c main --prefix --tail=-1"
        ) from None
    return workflow


def _pod_log(http: httpx.Client, run: str, pod: Pod, *, namespace: str) -> str:
    """A pod's log from the user interface's server, or from the API server where there is no user interface."""
    answer = _get(http, "/k8s/pod/logs", {"podname": pod.name, "runid": run, "podnamespace": namespace})
    if answer.status_code == 200 and "html" not in answer.headers.get("content-type", ""):
        return _whole_lines(answer.text)
    direct = _get(http, f"/apis/v1alpha1/runs/{run}/nodes/{pod.name}/log", {})
    # The API server answers 200 before it looks for the pod, and tells an error in the body.
    if (
        direct.status_code == 200
        and "html" not in direct.headers.get("content-type", "")
        and not _is_error(direct.text)
    ):
        return _whole_lines(direct.text)
    raise PipelineServiceError(
        f"the log of pod {pod.name} cannot be read (HTTP {answer.status_code} from the user interface's server): the "
        "pod may be gone, and logs are kept only where Argo archives them"
    )


def _get(http: httpx.Client, path: str, params: Mapping[str, str]) -> httpx.Response:
    try:
        return http.get(path, params=params, timeout=60.0)
    except httpx.HTTPError as error:
        raise PipelineServiceError(f"{http.base_url}: {path} could not be read: {error}") from None


def _is_error(text: str) -> bool:
    try:
        return "error_message" in json.loads(text)
    except (ValueError, TypeError):
        return False


def _whole_lines(text: str) -> str:
    return text if text.endswith("\n") or not text else text + "\n"
