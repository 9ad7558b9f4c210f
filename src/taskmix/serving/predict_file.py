"""The served answers without a server: lines of text or JSON in, lines of JSON out. `taskmix predict` calls this.

A line is a JSON object as the server takes it, `{"text": ..., "tasks": [...], "id": ...}` (the last two optional), or
the text itself. Each line gives one: the server's prediction, `{"intent": {...}, "slots": [...]}`, with the line's `id`
first if it has one, or `{"error": ...}`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, TextIO

from taskmix.errors import DataError, RequestError, UnknownTask
from taskmix.serving.predictor import (
    Answerer,
    Instance,
    Limits,
    instance_faults,
    kind_of,
    make_instance,
    predict,
    refuse,
    text_faults,
)

LINES_AT_ONCE = 64
"""Lines answered together. Arbitrary: enough for a full forward pass, few enough to stream."""

Form = Literal["auto", "jsonl", "text"]
"""auto: a line that begins with `{` is JSON, any other is a text."""


@dataclass(frozen=True)
class _Line:
    """A line read: an instance, or what is wrong with it."""

    id: object
    instance: Instance | None
    error: str | None


def predict_file(
    model: Answerer,
    *,
    source: Iterable[bytes],
    sink: TextIO,
    name: str,
    form: Form = "auto",
    tasks: Sequence[str] | None = None,
    limits: Limits | None = None,
    at_once: int = LINES_AT_ONCE,
    tell: Callable[[str], None] = lambda _: None,
) -> int:
    """Answer the lines of `source`, in order, some at a time.

    Args:
        model: what answers, e.g. of `load_system`.
        source: lines of UTF-8: a file opened in binary, standard input.
        sink: gets a line of JSON for each line.
        name: of the source, for messages.
        form: how a line is read.
        tasks: asked where a line names none; null asks all.
        limits: on the length of a text.
        at_once: lines read before they are answered; 1 for a person who types.
        tell: gets a sentence on each bad line, which starts with `name` and the line's number.

    Returns:
        The number of lines answered.

    Raises:
        UnknownTask: one of `tasks` is not the model's.
        DataError: at the end, when all others are answered, if there were bad lines.
    """
    if unknown := [task for task in tasks or () if task not in model.heads]:
        raise UnknownTask(f"tasks {unknown} are not among {list(model.heads)}, which the model answers")
    bad = answered = 0
    lines = _read(source, model, name=name, form=form, tasks=tasks, limits=limits or Limits())
    while batch := list(islice(lines, at_once)):
        predictions = iter(predict(model, [line.instance for line in batch if line.instance]))
        for line in batch:
            if line.error is not None:
                tell(line.error)
            content = {"error": line.error} if line.error is not None else next(predictions)
            named = content if line.id is None else {"id": line.id, **content}
            sink.write(json.dumps(named, ensure_ascii=False, allow_nan=False) + "\n")
        sink.flush()
        bad += sum(line.error is not None for line in batch)
        answered += sum(line.error is None for line in batch)
    if bad:
        raise DataError(f"{name}: {bad} of {bad + answered} lines were not answered; correct the lines told above")
    return answered


def _read(
    source: Iterable[bytes],
    model: Answerer,
    *,
    name: str,
    form: Form,
    tasks: Sequence[str] | None,
    limits: Limits,
) -> Iterator[_Line]:
    for number, raw in enumerate(source, start=1):
        where = f"{name} line {number}"
        try:
            value = _parse(raw, where=where, form=form, first=number == 1)
            line_id = value.pop("id", None)
            if tasks and value.get("tasks") is None:
                value["tasks"] = list(tasks)
            refuse([*_id_faults(line_id, f"{where}.id", limits), *instance_faults(value, where, model.heads, limits)])
            yield _Line(line_id, make_instance(value, model.heads), None)
        except RequestError as error:
            yield _Line(None, None, str(error))


def _parse(raw: bytes, *, where: str, form: Form, first: bool) -> dict[str, Any]:
    try:
        line = raw.decode("utf-8-sig" if first else "utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise RequestError([f"{where}: is not UTF-8 (byte {error.start}); convert the file"]) from None
    if form == "text" or (form == "auto" and not line.lstrip().startswith("{")):
        return {"text": line}
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        remedy = "correct it, or say that all lines are text" if form == "auto" else "correct it"
        raise RequestError([f"{where}: is no JSON: {error.msg} (column {error.colno}); {remedy}"]) from None
    except (ValueError, RecursionError):  # a number of thousands of digits, thousands of brackets
        raise RequestError([f"{where}: is JSON that no one can read; correct it"]) from None
    if not isinstance(value, dict):
        raise RequestError([f'{where}: found {kind_of(value)}; allowed is an object {{"text": ...}}'])
    return value


def _id_faults(value: object, where: str, limits: Limits) -> list[str]:
    if value is None or type(value) is int:
        return []
    return text_faults(value, where, limits)
