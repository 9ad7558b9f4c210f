"""Prompts in words: templates as data, overridden per task; examples drawn from train."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from taskmix.config.schema import TaskConfig
from taskmix.data.dataset import Row
from taskmix.data.schema import LabelSpace, Span
from taskmix.errors import BundleError, DataError
from taskmix.modeling.answers import TaskHead
from taskmix.modeling.cutting import GAP, cut_middle
from taskmix.modeling.prompts import Shot, make_prompts, read_prompts, write_prompts
from taskmix.modeling.shots import cut_shot, draw_shots, fit_shots

HEADS = {
    "slots": TaskHead("slots", "slot_filling", LabelSpace(("time", "place"))),
    "intent": TaskHead("intent", "classification", LabelSpace(("alarm", "music"))),
}
ROWS = [
    Row(str(i), f"wake me at {i}", {"intent": "alarm" if i % 3 else "music", "slots": (Span(3, 4, "time"),)})
    for i in range(12)
]


def specs(**intent: object) -> dict[str, TaskConfig]:
    parse = TypeAdapter[TaskConfig](TaskConfig).validate_python
    return {
        "slots": parse({"type": "slot_filling", "dataset": "words", "annotation": "slots"}),
        "intent": parse({"type": "classification", "dataset": "words", "label": "intent", **intent}),
    }


def test_a_prompt_names_instruction_labels_examples_and_text() -> None:
    prompt = make_prompts(HEADS, specs=specs(instruction="What is wanted?")).of("intent")
    asked = prompt.ask("play {it}", shots=[Shot(text="up at 6", answers={"intent": "alarm"})])
    assert asked.plain() == (
        "What is wanted?\nAnswer with one of these labels and nothing else: alarm, music\n\n"
        "Text: up at 6\nAnswer: alarm\n\nText: play {it}\nAnswer:"
    )
    assert [message["role"] for message in asked.messages()] == ["system", "user", "assistant", "user"]
    merged = asked.messages(system=False)
    assert merged[0]["content"].startswith("What is wanted?")
    assert merged[0]["content"].endswith("Text: up at 6\nAnswer:")


def test_a_task_may_bring_its_own_template() -> None:
    own = {"header": "Labels {{of}} {labels}", "question": "{text} ->"}
    assert make_prompts(HEADS, specs=specs(prompt=own)).of("intent").ask("hi").plain() == (
        "Labels {of} alarm, music\n\nhi ->"
    )
    with pytest.raises(ValidationError, match=r"names \['label'\]; allowed: \['instruction', 'labels'\]"):
        specs(prompt={"header": "{label}"})
    with pytest.raises(ValidationError, match=r"must hold \{text\} once"):
        specs(prompt={"question": "Answer:"})


def test_a_joint_prompt_asks_labels_before_slots() -> None:
    (prompt,) = make_prompts(HEADS, specs=specs(), joint=True).prompts
    assert prompt.tasks == ("intent", "slots")
    shot = Shot(text="up at 6", answers={"intent": "alarm", "slots": (Span(2, 3, "time"),)})
    assert prompt.answer(shot) == "intent: alarm\nslots: time: 6"
    assert "Task slots: Which words" in prompt.header


def test_prompts_come_back_from_a_bundle_as_they_were(tmp_path: Path) -> None:
    prompts = make_prompts(HEADS, specs=specs())
    with pytest.raises(BundleError, match=r"prompts\.json: is missing"):
        read_prompts(tmp_path)
    write_prompts(prompts, tmp_path)
    assert read_prompts(tmp_path) == prompts


def test_examples_show_every_label_before_one_twice() -> None:
    prompt = make_prompts(HEADS, specs=specs()).of("intent")
    shots = draw_shots(ROWS, prompt=prompt, count=2, seed=3)
    assert {shot.answers["intent"] for shot in shots} == {"alarm", "music"}
    assert shots == draw_shots(ROWS, prompt=prompt, count=2, seed=3)
    assert shots != draw_shots(ROWS, prompt=prompt, count=2, seed=4)
    assert len(draw_shots(ROWS, prompt=prompt, count=99, seed=3)) == len(ROWS)


def test_a_long_text_loses_its_middle_and_no_word_is_broken() -> None:
    shown = cut_middle("one two three four five six", characters=14)
    assert shown.text == f"one two{GAP}six"
    assert shown.words == ("one", "two", None, None, None, "six")
    assert cut_middle("x" * 50, characters=10).text == f"xxxxx{GAP}xxxxx"
    assert cut_middle("a b", characters=3).text == "a b"


def test_examples_are_cut_to_their_share_and_their_spans_follow() -> None:
    words = " ".join(f"w{i}" for i in range(100))
    shot = Shot(text=words, answers={"slots": (Span(0, 1, "time"), Span(50, 51, "place"), Span(98, 100, "place"))})
    cut = cut_shot(shot, cut_middle(words, characters=20))
    assert cut.text == f"w0 w1 w2{GAP}w98 w99"
    assert cut.answers["slots"] == (Span(0, 1, "time"), Span(4, 6, "place"))
    prompt = make_prompts(HEADS, specs=specs()).of("slots")
    fitted = fit_shots(prompt, [shot] * 9, room=200, size=lambda text: len(text.split()))
    assert len(fitted) == 8, "nine shares of a hundred words would be less than the least"
    assert all(len(f"Text: {s.text} Answer: {prompt.answer(s)}".split()) <= 12 for s in fitted)


def test_slots_that_answers_cannot_keep_apart_are_refused() -> None:
    head = TaskHead("slots", "slot_filling", LabelSpace(("time", "time (2)")))
    with pytest.raises(DataError, match=r"cannot keep the slots 'time' and 'time \(2\)' apart"):
        make_prompts({"slots": head}, specs=specs())
