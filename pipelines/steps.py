"""A run's steps as people know them, from the compiled graph, and how far each is, from what KFP tells of a run.

KFP's API tells Argo's nodes by their names in the graph (`finetune-3`, its driver `finetune-3-driver`, and so on), and
only those that have begun. The titles ("finetune minilm [intent]") stand in the compiled graph.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

DRIVER = "-driver"
"""What KFP's compiler for Argo adds to a step's name for the pod that prepares it (argocompiler/dag.go)."""
ENDED = frozenset({"SUCCEEDED", "FAILED", "SKIPPED", "CANCELED"})
"""States after which nothing more happens."""


@dataclass(frozen=True)
class Step:
    """One node of the graph that runs a component.

    Attributes:
        key: its name in the graph, e.g. `finetune-3`.
        title: its name for people.
    """

    key: str
    title: str


@dataclass(frozen=True)
class Progress:
    """How far a step is.

    Attributes:
        step: which.
        state: KFP's word: PENDING, RUNNING, SUCCEEDED, FAILED, SKIPPED, CANCELED, ...; empty before it begins.
        seconds: how long it has taken until now; null before it begins.
        error: KFP's own message on a failure; mostly empty.
    """

    step: Step
    state: str = ""
    seconds: float | None = None
    error: str = ""


def steps_of(spec: Mapping[str, Any]) -> tuple[Step, ...]:
    """The steps of a compiled pipeline, its first document, in an order in which they can run.

    What only holds others (a condition and its branches) is no step.
    """
    return tuple(_steps(spec["root"]["dag"], spec["components"]))


def _steps(dag: Mapping[str, Any], components: Mapping[str, Any]) -> Iterator[Step]:
    for key in _in_order(dag["tasks"]):
        task = dag["tasks"][key]
        component = components[task["componentRef"]["name"]]
        if "dag" in component:
            yield from _steps(component["dag"], components)
        else:
            yield Step(key, task["taskInfo"]["name"])


def _in_order(tasks: Mapping[str, Any]) -> list[str]:
    """The tasks after those that they depend on; by KFP's numbers among equals, not by `finetune-10` < `finetune-2`."""
    order: list[str] = []
    waiting = sorted(tasks, key=lambda key: (len(key), key))
    while waiting:
        free = [key for key in waiting if all(need in order for need in tasks[key].get("dependentTasks", ()))]
        assert free, "KFP compiles no circles"
        order += free
        waiting = [key for key in waiting if key not in free]
    return order


def progress_of(run: Any, steps: Sequence[Step], *, now: datetime) -> list[Progress]:
    """How far each step of a run is.

    Args:
        run: KFP's `V2beta1Run`.
        steps: the run's steps.
        now: the time, with its zone.
    """
    details = run.run_details.task_details if run.run_details else None
    told = {detail.display_name: detail for detail in details or ()}
    return [_progress(step, told, now=now) for step in steps]


def _progress(step: Step, told: Mapping[str, Any], *, now: datetime) -> Progress:
    driver, node = told.get(step.key + DRIVER), told.get(step.key)
    # A failed driver leaves its step unbegun, or skipped.
    if driver is not None and (node is None or driver.state == "FAILED"):
        state = "FAILED" if driver.state == "FAILED" else "PENDING"
        return Progress(step, state, _seconds(driver, now=now), _error(driver))
    if node is None:
        return Progress(step)
    return Progress(step, node.state or "", _seconds(node, now=now), _error(node))


def _seconds(detail: Any, *, now: datetime) -> float | None:
    if detail.start_time is None or detail.start_time.year < 2000:  # KFP tells the year 1 or 1970 for "not yet"
        return None
    ended = detail.end_time if detail.state in ENDED and detail.end_time else now
    return max(0.0, (ended - detail.start_time).total_seconds())


def _error(detail: Any) -> str:
    return str(detail.error.message or "") if detail.error else ""
