"""Answers as JSON come back as they were, and nothing else is taken for one."""

from __future__ import annotations

import json

import jsonschema
import pytest

from taskmix.data.schema import LabelSpace, Span
from taskmix.modeling.answers import TaskHead
from taskmix.modeling.api.structured import answer_schema, read_structured, write_structured
from taskmix.modeling.prompts import Shot

HEADS = {
    "intent": TaskHead("intent", "classification", LabelSpace(("alarm", 'say "hi"', "news"))),
    "slots": TaskHead("slots", "slot_filling", LabelSpace(("time", "place"))),
}
TASKS = tuple(HEADS)
TEXT = "wake me at five no at five am"
SHOTS = [
    Shot(text=TEXT, answers={"intent": "alarm", "slots": (Span(6, 8, "time"),)}),
    Shot(text=TEXT, answers={"intent": 'say "hi"', "slots": (Span(3, 4, "time"), Span(6, 7, "place"))}),
    Shot(text=TEXT, answers={"intent": "news", "slots": ()}),
    Shot(text="at at at at", answers={"intent": "news", "slots": (Span(1, 2, "time"), Span(3, 4, "time"))}),
]


@pytest.mark.parametrize("shot", SHOTS)
def test_answer_fits_its_schema_and_comes_back(shot: Shot) -> None:
    written = write_structured(shot, tasks=TASKS)
    jsonschema.validate(json.loads(written), answer_schema(TASKS, heads=HEADS))
    assert read_structured(written, text=shot.text, tasks=TASKS, heads=HEADS) == shot.answers


@pytest.mark.parametrize(
    ("answer", "read"),
    [
        ("no JSON", {}),
        ("[]", {}),
        ("{}", {}),
        ('{"intent": "Alarm", "slots": []}', {"slots": ()}),
        ('{"intent": "alarm", "slots": [{"slot": "time", "words": "six", "occurrence": 1}]}', {"intent": "alarm"}),
        ('{"intent": "alarm", "slots": [{"slot": "day", "words": "five", "occurrence": 1}]}', {"intent": "alarm"}),
        ('{"intent": "alarm", "slots": [{"slot": "time", "words": "five", "occurrence": 3}]}', {"intent": "alarm"}),
        ('{"intent": "alarm", "slots": ["five"]}', {"intent": "alarm"}),
        ('{"intent": 3, "slots": null}', {}),
    ],
)
def test_what_is_no_answer_of_the_task_is_left_out(answer: str, read: dict[str, object]) -> None:
    assert read_structured(answer, text=TEXT, tasks=TASKS, heads=HEADS) == read


def test_schema_is_strict_to_the_letter() -> None:
    schema = answer_schema(TASKS, heads=HEADS)
    objects = [schema, schema["properties"]["slots"]["items"]]
    for each in objects:
        assert each["additionalProperties"] is False
        assert each["required"] == list(each["properties"])
