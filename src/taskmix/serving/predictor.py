"""From a request's JSON to instances, and from answers to a response's JSON: the shape that users see, and its limits.

Pure: no server, no file, no thread. The server, its Open Inference protocol and `taskmix predict` all speak through it,
so that a text gets one answer whichever way it comes.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from taskmix.data.schema import split_words
from taskmix.errors import RequestError
from taskmix.modeling.answers import Answer, ClassificationAnswer, Model, TaskHead

INSTANCE_KEYS = ("text", "tasks", "top_k")
FAULTS_TOLD = 10
"""Of a request with more faults, the first so many are told, and the number of the rest."""

Prediction = dict[str, Any]
"""Task to `{label, probability, in_scope}` (and `top`, where asked), or a list of `{slot, text, start, end,
probability}`; ready for JSON."""


@dataclass(frozen=True)
class Limits:
    """What one request may ask. The numbers are ours, chosen so that one request cannot hold up the others for long."""

    max_instances: int = 256
    max_characters: int = 200_000
    """Of one text: the longest post of 20 Newsgroups has 160,000."""
    max_body_bytes: int = 8 * 2**20


@dataclass(frozen=True)
class Instance:
    """One text and what is asked of it; valid."""

    text: str
    tasks: tuple[str, ...]
    top_k: int | None = None
    """How many of the most probable labels to tell beside the answer; null tells none."""


class Answerer(Model, Protocol):
    """A model that also says which answers are out of scope; `modeling.system.System` is one."""

    def rejection_threshold(self, task: str) -> float:
        """The probability below which a text counts as out of the task's scope."""
        ...


def parse_instances(body: object, *, tasks: Collection[str], limits: Limits) -> tuple[Instance, ...]:
    """The instances of a V1 request, `{"instances": [{"text": ..., "tasks": [...], "top_k": 3}]}`.

    Without `tasks`, all are asked; with `top_k`, classifications tell so many labels.

    Args:
        body: the request's JSON, whatever it holds.
        tasks: those that can be asked.
        limits: on the number of instances and the length of texts.

    Raises:
        RequestError: with all that is wrong: where, what was found, what is allowed.
    """
    instances = _instances_of(body, limits=limits)
    faults = [
        fault
        for index, value in enumerate(instances)
        for fault in instance_faults(value, f"instances[{index}]", tasks, limits)
    ]
    refuse(faults)
    return tuple(make_instance(value, tasks) for value in instances)


def _instances_of(body: object, *, limits: Limits) -> list[Any]:
    allowed = 'an object {"instances": [{"text": ...}, ...]}'
    if not isinstance(body, dict):
        raise RequestError([f"the body: found {kind_of(body)}; allowed is {allowed}"])
    refuse([f"{show(key)}: is not a key of a request; allowed is {allowed}" for key in body if key != "instances"])
    if "instances" not in body:
        raise RequestError([f"instances: is missing; allowed is {allowed}"])
    instances = body["instances"]
    if not isinstance(instances, list):
        raise RequestError([f'instances: found {kind_of(instances)}; allowed is an array of {{"text": ...}}'])
    if len(instances) > limits.max_instances:
        fault = (
            f"instances: found {len(instances)} instances; allowed are {limits.max_instances}: send several requests"
        )
        raise RequestError([fault], status=413)
    return instances


def instance_faults(value: object, where: str, tasks: Collection[str], limits: Limits) -> list[str]:
    """All that is wrong with one instance; empty if it can be answered.

    Args:
        value: the instance's JSON.
        where: its place, with which each fault starts.
        tasks: those that can be asked.
        limits: on the length of its text.
    """
    if not isinstance(value, dict):
        return [f'{where}: found {kind_of(value)}; allowed is an object {{"text": ..., "tasks": [...], "top_k": 3}}']
    faults = [
        f"{where}.{show(key)}: is not a key of an instance; allowed are {', '.join(map(repr, INSTANCE_KEYS))}"
        for key in value
        if key not in INSTANCE_KEYS
    ]
    if "text" in value:
        faults += text_faults(value["text"], f"{where}.text", limits)
    else:
        faults.append(f"{where}.text: is missing; allowed is a string")
    faults += task_faults(value.get("tasks"), f"{where}.tasks", tasks)
    return faults + top_k_faults(value.get("top_k"), f"{where}.top_k")


def text_faults(text: object, where: str, limits: Limits) -> list[str]:
    """All that is wrong with a text."""
    if not isinstance(text, str):
        return [f"{where}: found {kind_of(text)}; allowed is a string"]
    if len(text) > limits.max_characters:
        return [
            f"{where}: found {len(text)} characters; allowed are {limits.max_characters}: shorten or split the text"
        ]
    try:
        text.encode()
    except UnicodeEncodeError:
        return [f"{where}: found half of a surrogate pair; allowed is text that can be written as UTF-8"]
    return []


def task_faults(asked: object, where: str, tasks: Collection[str]) -> list[str]:
    """All that is wrong with the tasks asked; null asks all."""
    if asked is None:
        return []
    allowed = f"allowed is an array of {list(tasks)}, or leave 'tasks' out to ask all"
    if not isinstance(asked, list):
        return [f"{where}: found {kind_of(asked)}; {allowed}"]
    if not asked:
        return [f"{where}: found an empty array; {allowed}"]
    return [
        f"{where}[{index}]: found {show(task)}; {allowed}"
        for index, task in enumerate(asked)
        if not isinstance(task, str) or task not in tasks
    ]


def top_k_faults(top_k: object, where: str) -> list[str]:
    """All that is wrong with the number of labels to tell; null tells none, more than there are tells all."""
    if top_k is None or (type(top_k) is int and top_k >= 1):
        return []
    found = top_k if type(top_k) is int else kind_of(top_k)
    return [f"{where}: found {found}; allowed is a whole number from 1"]


def make_instance(value: Mapping[str, Any], tasks: Collection[str]) -> Instance:
    """The instance in JSON that has no faults."""
    asked = tuple(dict.fromkeys(tasks if value.get("tasks") is None else value["tasks"]))
    return Instance(value["text"], asked, value.get("top_k"))


def refuse(faults: Sequence[str]) -> None:
    """Raise if there is a fault.

    Raises:
        RequestError: telling the first of them.
    """
    if faults:
        more = [f"and {len(faults) - FAULTS_TOLD} more"] if len(faults) > FAULTS_TOLD else []
        raise RequestError([*faults[:FAULTS_TOLD], *more])


def predict(model: Answerer, instances: Sequence[Instance]) -> list[Prediction]:
    """Answer instances, those that ask the same tasks together."""
    groups: dict[tuple[str, ...], list[int]] = {}
    for index, instance in enumerate(instances):
        groups.setdefault(instance.tasks, []).append(index)
    predictions: list[Prediction] = [{} for _ in instances]
    for tasks, indices in groups.items():
        answered = model.predict([instances[index].text for index in indices], tasks=tasks)
        for index, answers in zip(indices, answered, strict=True):
            instance = instances[index]
            predictions[index] = {
                task: render_answer(answers[task], instance.text, model.rejection_threshold(task)) for task in tasks
            }
            if instance.top_k is not None:
                for task in tasks:
                    _add_top(predictions[index][task], answers[task], model.heads[task], k=instance.top_k)
    return predictions


def render_answer(answer: Answer, text: str, rejection_threshold: float) -> Any:
    """An answer ready for JSON; a slot's place is told in characters of `text`, end exclusive."""
    if isinstance(answer, ClassificationAnswer):
        in_scope = not answer.probability < rejection_threshold
        return {"label": answer.label, "probability": _told(answer.probability), "in_scope": in_scope}
    words = split_words(text)
    slots = []
    for span, probability in zip(answer.spans, answer.probabilities, strict=True):
        start, end = words[span.start].start, words[span.end - 1].end
        slot = {"slot": span.slot, "text": text[start:end], "start": start, "end": end}
        slots.append({**slot, "probability": _told(probability)})
    return slots


def _told(probability: float) -> float | None:
    """A probability for JSON: null where the model does not tell it."""
    return None if math.isnan(probability) else float(probability)


def _add_top(rendered: Any, answer: Answer, head: TaskHead, *, k: int) -> None:
    """Put the `k` most probable labels into a classification's rendered answer; slots have no such list."""
    if isinstance(answer, ClassificationAnswer):
        order = np.argsort(-answer.probabilities, kind="stable")[:k].tolist()
        labels = head.labels.labels
        rendered["top"] = [{"label": labels[i], "probability": _told(answer.probabilities[i])} for i in order]


def kind_of(value: object) -> str:
    """What a JSON value is, for messages; never the value itself, which may be a user's text."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return f"a string of {len(value)} characters"
        case list():
            return f"an array of {len(value)}"
        case dict():
            return "an object"
        case _:
            return f"a {type(value).__name__}"


def show(name: object) -> str:
    """A name that a user chose, quoted and bounded, for messages; of what is no name, its kind."""
    if not isinstance(name, str):
        return kind_of(name)
    return repr(name if len(name) <= 60 else f"{name[:60]}...")
