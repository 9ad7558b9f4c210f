"""Answers as JSON, for endpoints that bind what they write to a schema: task to label, or to a list of spans.

    {"intent": "alarm_set", "slots": [{"slot": "time", "words": "five am", "occurrence": 1}]}

A span's occurrence counts as in `answer_format`, by which it is read: one definition for text and JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from taskmix.modeling.answer_format import (
    NO_SPANS,
    InvalidAnswer,
    Label,
    opening_piece,
    rank_of,
    read_label,
    read_spans,
    words_of,
)
from taskmix.modeling.answers import TaskHead
from taskmix.modeling.prompts import Shot


def answer_schema(tasks: Sequence[str], *, heads: Mapping[str, TaskHead]) -> dict[str, Any]:
    """The JSON schema of an answer to `tasks`, in the part of JSON Schema that strict endpoints take."""
    return _object({task: _task_schema(heads[task]) for task in tasks})


def write_structured(shot: Shot, *, tasks: Sequence[str]) -> str:
    """The right answer to an example."""
    words = words_of(shot.text)
    return json.dumps({task: _write(shot.answers[task], words=words) for task in tasks}, ensure_ascii=False)


def read_structured(answer: str, *, text: str, tasks: Sequence[str], heads: Mapping[str, TaskHead]) -> dict[str, Label]:
    """The answers in JSON; a task that is answered badly, or not at all, is left out.

    Args:
        answer: what the model wrote.
        text: that was asked about, as shown.
        tasks: those asked.
        heads: their labels.
    """
    try:
        value = json.loads(answer)
    except ValueError:
        return {}
    read: dict[str, Label] = {}
    for task in tasks if isinstance(value, dict) else ():
        try:
            read[task] = _read(value.get(task), text=text, head=heads[task])
        except InvalidAnswer:
            continue
    return read


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _task_schema(head: TaskHead) -> dict[str, Any]:
    names = {"type": "string", "enum": list(head.labels.labels)}
    if head.type == "classification":
        return names
    span = _object({"slot": names, "words": {"type": "string"}, "occurrence": {"type": "integer"}})
    return {"type": "array", "items": span}


def _write(label: Label, *, words: Sequence[str]) -> Any:
    if isinstance(label, str):
        return label
    ends = (0, *(span.end for span in label))
    return [
        {
            "slot": span.slot,
            "words": " ".join(words[span.start : span.end]),
            "occurrence": rank_of(span, keys=words, after=end),
        }
        for span, end in zip(label, ends, strict=False)
    ]


def _read(value: Any, *, text: str, head: TaskHead) -> Label:
    """One task's answer.

    Raises:
        InvalidAnswer: it is none of the task's.
    """
    if head.type == "classification":
        if not isinstance(value, str):
            raise InvalidAnswer("is no string")
        return read_label(value, labels=head.labels.labels)
    if not isinstance(value, list):
        raise InvalidAnswer("is no list of spans")
    lines = "".join(_line(span, lead="\n" if index else "") for index, span in enumerate(value))
    return read_spans(lines or NO_SPANS, text=text, slots=head.labels.labels)


def _line(span: Any, *, lead: str) -> str:
    match span:
        case {"slot": str(slot), "words": str(words), "occurrence": int(rank)} if rank >= 1:
            return f"{opening_piece(slot, rank=rank, lead=lead)} {' '.join(words.split())}"
    raise InvalidAnswer("holds no span")
