"""What is wrong between keys: names that lead nowhere, groupings that are no partition, secrets.

Works on the values as written, so that these problems are told together with the structural ones; what has not the
shape expected is passed over, since `structure` tells it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from taskmix.config.source import KeyPath, Problem
from taskmix.config.wording import looks_secret, one_of, unknown

_NEVER_EMPTY = ("label", "annotation", "uri", "path", "text", "checkpoint", "dataset")
Values = dict[str, Any]


def reference_problems(values: Values) -> Iterator[Problem]:
    """Every problem between keys."""
    yield from _secrets((), values)
    yield from _empty_texts(values)
    yield from _task_problems(values)
    yield from _grouping_problems(values)
    yield from _hardware_problems(values)
    yield from _system_problems(values)
    yield from _gate_problems(values)
    yield from _pinned_problems(values)
    yield from _reference_problems(values)


def _section(values: Values, name: str) -> Values:
    """The section as a mapping from text; empty where it is absent or of another shape."""
    section = values.get(name)
    return {key: value for key, value in section.items() if isinstance(key, str)} if isinstance(section, dict) else {}


def _entries(values: Values, name: str) -> Iterator[tuple[str, Values]]:
    yield from ((key, entry) for key, entry in _section(values, name).items() if isinstance(entry, dict))


def _secrets(path: KeyPath, value: Any) -> Iterator[Problem]:
    if looks_secret(value):
        yield Problem(path, "looks like a secret; take it out and revoke it: secrets come from the environment only")
    elif isinstance(value, dict):
        for key, inner in value.items():
            if looks_secret(key):
                yield Problem(path, "a key in it looks like a secret; take it out and revoke it")
            else:
                yield from _secrets((*path, str(key)), inner)
    elif isinstance(value, list):
        for position, inner in enumerate(value):
            yield from _secrets((*path, position), inner)


def _empty_texts(values: Values) -> Iterator[Problem]:
    for section in ("datasets", "tasks", "models"):
        for name, entry in _entries(values, section):
            for key in _NEVER_EMPTY:
                if isinstance(entry.get(key), str) and not entry[key].strip():
                    yield Problem((section, name, key), "is empty")
    if isinstance(values.get("storage"), str) and not values["storage"].strip():
        yield Problem(("storage",), "is empty; allowed: s3://bucket/prefix or a folder")


def _task_problems(values: Values) -> Iterator[Problem]:
    datasets = list(_section(values, "datasets"))
    for name, task in _entries(values, "tasks"):
        dataset = task.get("dataset")
        if isinstance(dataset, str) and dataset.strip() and dataset not in datasets:
            yield Problem(("tasks", name, "dataset"), unknown(dataset, datasets, what="dataset"))
        labels = task.get("labels")
        if isinstance(labels, list):
            twice = [str(label) for label, count in Counter(map(str, labels)).items() if count > 1]
            if twice:
                yield Problem(("tasks", name, "labels"), f"holds {one_of(twice)} more than once; keep one")
            if not labels:
                yield Problem(("tasks", name, "labels"), "is empty; leave it out to take the labels seen in train")
        if name == "mean":
            yield Problem(
                ("tasks", name), "the name is taken: gate.rank_by means the mean of the tasks by it; rename it"
            )


def _grouping_problems(values: Values) -> Iterator[Problem]:
    tasks = list(_section(values, "tasks"))
    for name, partition in _section(values, "groupings").items():
        if not isinstance(partition, list):
            continue
        path: KeyPath = ("groupings", name)
        named: list[str] = []
        for position, block in enumerate(partition):
            if isinstance(block, list):
                named += [task for task in block if isinstance(task, str)]
                if not block:
                    yield Problem((*path, position), "is an empty block; take it out")
                for place, task in enumerate(block):
                    if isinstance(task, str) and task not in tasks:
                        yield Problem((*path, position, place), unknown(task, tasks, what="task"))
        twice = [task for task, count in Counter(named).items() if count > 1]
        missing = [task for task in tasks if task not in named]
        if twice:
            yield Problem(path, f"holds {one_of(twice)} more than once; each task must stand in exactly one block")
        if missing:
            yield Problem(path, f"lacks {one_of(missing)}; each task must stand in exactly one block")


def _hardware_problems(values: Values) -> Iterator[Problem]:
    hardware = list(_section(values, "hardware"))
    for name, model in _entries(values, "models"):
        wanted = model.get("hardware")
        if isinstance(wanted, str) and wanted not in hardware:
            yield Problem(("models", name, "hardware"), unknown(wanted, hardware, what="hardware"))
    wanted = _section(values, "deployment").get("hardware")
    if isinstance(wanted, str) and wanted not in hardware:
        yield Problem(("deployment", "hardware"), unknown(wanted, hardware, what="hardware"))


def _system_problems(values: Values) -> Iterator[Problem]:
    systems = values.get("systems", "all")
    if not isinstance(systems, list):
        return
    if not systems:
        yield Problem(("systems",), "is empty; allowed: all, or a list of model/grouping")
    models = list(_section(values, "models"))
    groupings = list(_section(values, "groupings")) if "groupings" in values else ["single", "merged"]
    for position, system in enumerate(systems):
        path: KeyPath = ("systems", position)
        if not isinstance(system, str):
            continue
        model, slash, grouping = system.partition("/")
        if not slash:
            yield Problem(path, f"found {system!r}; allowed: model/grouping, e.g. {_example(models, groupings)}")
            continue
        if model not in models:
            yield Problem(path, unknown(model, models, what="model"))
        if grouping not in groupings:
            yield Problem(path, unknown(grouping, groupings, what="grouping"))
        if system in systems[:position]:
            yield Problem(path, f"{system} is listed more than once; keep one")


def _example(models: list[str], groupings: list[str]) -> str:
    return f"{(models or ['model'])[0]}/{(groupings or ['single'])[0]}"


def _pinned_problems(values: Values) -> Iterator[Problem]:
    """Examples written in the file; those of a URI are read by the gate."""
    pinned, tasks = _section(values, "gate").get("regression_set"), _section(values, "tasks")
    if isinstance(pinned, list) and pinned and _section(values, "report").get("texts") == "redact":
        yield Problem(
            ("gate", "regression_set"),
            "its texts would stand in every copy of this file, the report's too, and report.texts is redact; put them "
            "into a file of JSON lines and give its URI",
        )
    for position, example in enumerate(pinned if isinstance(pinned, list) else []):
        if not isinstance(example, dict) or not isinstance(example.get("task"), str):
            continue
        path: KeyPath = ("gate", "regression_set", position)
        task = example["task"]
        if task not in tasks:
            yield Problem((*path, "task"), unknown(task, list(tasks), what="task"))
            continue
        spec, label = tasks[task], example.get("label")
        if not isinstance(spec, dict) or spec.get("type") != "classification" or not isinstance(label, str):
            continue
        labels = spec.get("labels")
        if isinstance(labels, list) and label not in labels:
            yield Problem((*path, "label"), unknown(label, list(map(str, labels)), what="label"))


def _reference_problems(values: Values) -> Iterator[Problem]:
    references, tasks = values.get("references"), list(_section(values, "tasks"))
    for position, reference in enumerate(references if isinstance(references, list) else []):
        task = reference.get("task") if isinstance(reference, dict) else None
        if isinstance(task, str) and task not in tasks:
            yield Problem(("references", position, "task"), unknown(task, tasks, what="task"))


def _gate_problems(values: Values) -> Iterator[Problem]:
    gate, tasks = _section(values, "gate"), list(_section(values, "tasks"))
    rank_by = gate.get("rank_by", "mean")
    if isinstance(rank_by, str) and rank_by not in ("mean", *tasks):
        yield Problem(("gate", "rank_by"), unknown(rank_by, ["mean", *tasks], what="task"))
    for task in _section(gate, "minimum"):
        if task not in tasks:
            yield Problem(("gate", "minimum", task), unknown(task, tasks, what="task"))
