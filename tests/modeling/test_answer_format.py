"""Answers in words: what is written comes back exactly, and what is no answer is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskmix.data.labels import parse_brackets
from taskmix.data.labels import read_spans as read_annotation
from taskmix.data.schema import Span, split_words
from taskmix.modeling.answer_format import (
    InvalidAnswer,
    confusable_slots,
    read_joint,
    read_label,
    read_spans,
    write_joint,
    write_spans,
)

MASSIVE = Path(__file__).resolve().parents[3] / "shared/data/massive/en-US.jsonl"
SLOTS = ["time", "place", "place 2", "none"]


def test_slots_are_written_as_lines_that_copy_the_words() -> None:
    spans = (Span(2, 4, "time"), Span(5, 6, "place"))
    assert write_spans(spans, text="wake me five am in london") == "time: five am\nplace: london"
    assert write_spans((), text="wake me") == "none"


def test_words_that_stand_twice_get_a_number() -> None:
    text = "from york to york"
    assert write_spans((Span(3, 4, "place"),), text=text) == "place (2): york"
    assert write_spans((Span(1, 2, "place"), Span(3, 4, "place")), text=text) == "place: york\nplace: york"


@given(st.data())
def test_any_spans_come_back_as_they_were(data: st.DataObject) -> None:
    words = data.draw(st.lists(st.sampled_from(["a", "b", "a:", "time:", "none", "(2)", "\u00e9\u200b"]), max_size=9))
    borders = sorted(data.draw(st.sets(st.integers(0, len(words)), max_size=8)))
    pairs = list(zip(borders[::2], borders[1::2], strict=False))
    spans = tuple(Span(start, end, data.draw(st.sampled_from(SLOTS))) for start, end in pairs)
    text = "  ".join(words)
    assert read_spans(write_spans(spans, text=text), text=text, slots=SLOTS) == spans


@pytest.mark.skipif(not MASSIVE.is_file(), reason="the MASSIVE data is not beside the checkout")
def test_every_annotation_of_massive_comes_back_as_it_was() -> None:
    rows = [json.loads(line) for line in MASSIVE.read_text(encoding="utf-8").splitlines()]
    gold = [read_annotation(row["annot_utt"], text=row["utt"]) or () for row in rows]
    slots = sorted({slot for row in rows for _, _, slot in parse_brackets(row["annot_utt"])[1]})
    written = [write_spans(spans, text=row["utt"]) for spans, row in zip(gold, rows, strict=True)]
    read = [read_spans(answer, text=row["utt"], slots=slots) for answer, row in zip(written, rows, strict=True)]
    assert read == gold
    assert sum("(2):" in answer for answer in written) < 0.002 * len(rows), "numbers are for the rare case"


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("", "opens with no slot"),
        ("city: london", "opens with no slot"),
        ("time:", "copies words"),
        ("time: london\nplace: five", "copies words"),
        ("time: five (2)", "copies words"),
        ("time (2): five", "copies words"),
        ("time (1): five", "opens with no slot"),
        ("time: five\n\nplace: london", "opens with no slot"),
    ],
)
def test_what_is_no_answer_is_told(answer: str, why: str) -> None:
    with pytest.raises(InvalidAnswer, match=why):
        read_spans(answer, text="at five in london", slots=["time", "place"])


def test_a_label_must_be_one_of_the_tasks() -> None:
    assert read_label(" set alarm\n", labels=["set", "set alarm"]) == "set alarm"
    with pytest.raises(InvalidAnswer, match="no label"):
        read_label("set an alarm", labels=["set", "set alarm"])


def test_a_joint_answer_is_read_task_by_task() -> None:
    text = "wake me at five"
    answer = write_joint({"intent": "alarm", "slots": (Span(3, 4, "time"),)}, tasks=["intent", "slots"], text=text)
    assert answer == "intent: alarm\nslots: time: five"
    tasks = {"intent": ("classification", ["alarm", "music"]), "slots": ("slot_filling", ["time"])}
    assert read_joint(answer, text=text, tasks=tasks) == {"intent": "alarm", "slots": (Span(3, 4, "time"),)}
    assert read_joint("intent: coffee\nslots: none", text=text, tasks=tasks) == {"slots": ()}
    assert len(split_words(text)) == 4


def test_slots_that_lines_cannot_keep_apart_are_found() -> None:
    assert confusable_slots(["time", "place", "time (2)"]) == ("time", "time (2)")
    assert confusable_slots(["a", "a: b"]) == ("a", "a: b")
    assert confusable_slots(["time", "timezone", "time of day", "time (of day)"]) is None
