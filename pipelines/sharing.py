"""One definition for all tasks that run the same step on the same hardware.

KFP's compiler writes a component and an executor, the step's source in it, for every task. A pipeline of a hundred jobs
is then hundreds of kilobytes of copies, and a run is kept as one object of at most 1.5 MB in etcd. Tasks may share a
component: the backend looks it up by name and visits each once (its backend/src/v2/compiler/visitor.go).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

Spec = dict[str, Any]


def share_components(path: Path) -> None:
    """Rewrite a compiled pipeline so that equal components stand in it once; its graph stays as it was."""
    text = path.read_text(encoding="utf-8")
    spec, *more = yaml.load_all(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    settings: Spec = more[0]["platforms"]["kubernetes"]["deploymentSpec"]["executors"] if more else {}
    merge_equal(spec, settings=settings)
    comments = "".join(f"{line}\n" for line in text.splitlines() if line.startswith("#"))
    path.write_text(comments + yaml.safe_dump_all([spec, *more], width=1 << 20, allow_unicode=True), encoding="utf-8")


def merge_equal(spec: Spec, *, settings: Spec) -> None:
    """Leave one of the components that run the same container with the same settings, and lead their tasks to it.

    Args:
        spec: KFP's pipeline; changed.
        settings: executor label to what is set for Kubernetes; changed.
    """
    components, executors = spec["components"], spec["deploymentSpec"]["executors"]
    kept: dict[str, str] = {}
    merged: dict[str, str] = {}
    for name in sorted(components, key=lambda name: (len(name), name)):
        label = components[name].get("executorLabel")
        if label is None:
            continue
        interface = {key: value for key, value in components[name].items() if key != "executorLabel"}
        identity = json.dumps([interface, executors[label], settings.get(label)], sort_keys=True)
        if kept.setdefault(identity, name) != name:
            merged[name] = kept[identity]
    for name in merged:
        label = components.pop(name)["executorLabel"]
        del executors[label]
        settings.pop(label, None)
    for task in _tasks(spec):
        reference = task["componentRef"]
        reference["name"] = merged.get(reference["name"], reference["name"])


def _tasks(spec: Spec) -> Iterator[Spec]:
    for graph in (spec["root"], *spec["components"].values()):
        yield from graph.get("dag", {}).get("tasks", {}).values()
