"""Decoders with random weights: whatever they would like to say, their answers are answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter

from taskmix.config.plan import JobSlice
from taskmix.config.schema import DecoderModel, TaskConfig
from taskmix.data.dataset import Row
from taskmix.data.schema import LabelSpace, Span, split_words
from taskmix.errors import BundleError, UnknownTask
from taskmix.modeling.answers import ClassificationAnswer, SlotsAnswer, TaskHead
from taskmix.modeling.bundle import BundleCard, TrainingRecord, head_cards, load_model, write_card
from taskmix.modeling.decoder import PromptAnswerer, save_decoder
from taskmix.modeling.prompts import make_prompts
from taskmix.modeling.raw_answers import RawLabel, RawSpans, calibrated, read_written, span_logits
from taskmix.training.decoder_dev import fit_raw, raw_scores
from taskmix.training.decoder_scratch import scratch_decoder

HEADS = {
    "intent": TaskHead("intent", "classification", LabelSpace(("alarm", "alarm set", "music", "news"))),
    "slots": TaskHead("slots", "slot_filling", LabelSpace(("time", "place"))),
    "people": TaskHead("people", "slot_filling", LabelSpace(("person",))),
    "topic": TaskHead("topic", "classification", LabelSpace(("home", "work"))),
}
PARSE = TypeAdapter[TaskConfig](TaskConfig).validate_python
SPECS = {
    task: PARSE(
        {
            "type": head.type,
            "dataset": "words",
            ("label" if head.type == "classification" else "annotation"): task,
            "prompt": {"header": "{instruction}"},
        }
    )
    for task, head in HEADS.items()
}
TEXTS = ["", "wake me at five at five", "news", "play  fiver in new york", "\u00e9\u00e8 ?! <s> five", "five " * 90]


def settings_of(**values: Any) -> DecoderModel:
    architecture = {"layers": 2, "hidden": 32, "heads": 4, "key_value_heads": 2, "feed_forward": 48, "vocabulary": 330}
    recipe = {"max_tokens": 120}
    return DecoderModel.model_validate({"kind": "decoder", "architecture": architecture, "recipe": recipe, **values})


def make_answerer(**values: Any) -> tuple[PromptAnswerer, Any]:
    settings = settings_of(**values)
    prompts = make_prompts(HEADS, specs=SPECS, joint=settings.answers == "joint")
    torch.manual_seed(7)
    assert settings.architecture is not None
    module, tokenizer = scratch_decoder(settings.architecture, prompts=prompts, heads=HEADS, texts=TEXTS)
    for weight in module.parameters():  # wide, so that answers differ from text to text
        if weight.ndim == 2:
            weight.data.normal_(std=0.4)
    answerer = PromptAnswerer(module.eval(), tokenizer=tokenizer, prompts=prompts, heads=HEADS, settings=settings)
    return answerer, module


@pytest.mark.parametrize("answers", ["separate", "joint"])
@pytest.mark.parametrize("label_decoding", ["exact", "greedy"])
@pytest.mark.parametrize("tuning", ["full", "none"])
def test_constrained_answers_are_always_answers(answers: str, label_decoding: str, tuning: str) -> None:
    answerer, _ = make_answerer(answers=answers, label_decoding=label_decoding, tuning=tuning)
    found = answerer.answer(TEXTS, tasks=list(HEADS))
    assert [list(each) for each in found] == [list(HEADS)] * len(TEXTS)
    for text, each in zip(TEXTS, found, strict=True):
        for task, head in HEADS.items():
            raw = each[task]
            if isinstance(raw, RawLabel):
                assert raw.scores_L is not None
                assert raw.scores_L.shape == (len(head.labels),)
                assert np.isfinite(raw.scores_L).all()
                continue
            assert raw.valid
            assert all(value <= 1e-6 for value in raw.log_probabilities)
            ends = [0, *(span.end for span in raw.spans)]
            assert all(end <= span.start < span.end for end, span in zip(ends, raw.spans, strict=False))
            assert all(span.end <= len(split_words(text)) and span.slot in head.labels for span in raw.spans)
    assert len({str(each["slots"]) for each in found}) > 2, "answers depend on texts"


@pytest.mark.parametrize("answers", ["separate", "joint"])
def test_answers_do_not_depend_on_the_batch(answers: str) -> None:
    answerer, _ = make_answerer(answers=answers)
    together = answerer.answer(TEXTS, tasks=list(HEADS))
    for text, expected in zip(TEXTS, together, strict=True):
        (alone,) = answerer.answer([text], tasks=list(HEADS))
        for task in HEADS:
            mine, theirs = alone[task], expected[task]
            if isinstance(mine, RawLabel) and isinstance(theirs, RawLabel):
                assert mine.scores_L == pytest.approx(theirs.scores_L, abs=2e-4)
            elif isinstance(mine, RawSpans) and isinstance(theirs, RawSpans):
                assert mine.spans == theirs.spans
                assert mine.log_probabilities == pytest.approx(theirs.log_probabilities, abs=2e-3)


def test_a_label_within_a_joint_answer_is_scored_as_its_string_would_be() -> None:
    answerer, module = make_answerer(answers="joint")
    (prompt,) = answerer.asker.prompts.prompts
    (found,) = answerer.answer(["wake me"], tasks=["intent"])
    asked = answerer.asker.ask(prompt, "wake me")
    raw = found["intent"]
    assert isinstance(raw, RawLabel)
    assert raw.scores_L is not None
    for label, score in zip(HEADS["intent"].labels.labels, raw.scores_L, strict=True):
        pieces = [" intent:", f" {label}", "\ntopic:"]
        parts = [list(answerer.asker.piece_ids(piece)) for piece in pieces]
        ids = torch.tensor([[*asked.ids.tolist(), *parts[0], *parts[1], *parts[2]]])
        with torch.inference_mode():
            logp = module(ids).logits.log_softmax(dim=-1)[0]
        first = len(asked) + len(parts[0])
        whole = sum(logp[place - 1, ids[0, place]] for place in range(first, ids.shape[1]))
        assert float(whole) == pytest.approx(float(score), abs=2e-4)


def test_free_answers_that_are_none_are_told_as_such() -> None:
    answerer, _ = make_answerer(label_decoding="free", slot_decoding="free")
    found = answerer.answer(TEXTS, tasks=["intent", "slots"])
    labels, slots = ([each[task] for each in found] for task in ("intent", "slots"))
    assert all(isinstance(raw, RawLabel) and raw.scores_L is None for raw in labels), "random weights babble"
    assert all(isinstance(raw, RawSpans) and not raw.valid and raw.spans == () for raw in slots)
    answer = calibrated(labels[0], head=HEADS["intent"], temperature=1.0)
    assert not answer.valid


def test_free_answers_that_are_right_are_read() -> None:
    prompt = make_prompts(HEADS, specs=SPECS).of("intent")
    read = read_written(" music", log_probability=-0.1, prompt=prompt, heads=HEADS, text="x")["intent"]
    answer = calibrated(read, head=HEADS["intent"], temperature=1.0)
    assert isinstance(answer, ClassificationAnswer)
    assert answer.label == "music"
    assert answer.probability == pytest.approx(np.exp(-0.1), abs=1e-4)
    assert answer.probabilities.sum() == pytest.approx(1)


def test_temperatures_make_sure_answers_as_sure_as_they_are_right() -> None:
    head = {"intent": HEADS["intent"], "slots": HEADS["slots"]}
    rows = [Row(str(i), "a b", {"intent": "music", "slots": (Span(0, 1, "time"),)}) for i in range(40)]
    sure, wrong = np.array([0.0, 0.0, 9.0, 0.0], np.float32), np.array([9.0, 0.0, 0.0, 0.0], np.float32)
    raws = [
        (RawLabel(wrong if i % 4 == 0 else sure), RawSpans((Span(0, 1, "place" if i % 4 == 0 else "time"),), (-0.01,)))
        for i in range(40)
    ]
    asked: Any = {
        task: [(row, pair[place]) for row, pair in zip(rows, raws, strict=True)] for place, task in enumerate(head)
    }
    assert raw_scores(asked, heads=head) == {"intent": 0.75, "slots": 0.75}
    temperatures, thresholds = fit_raw(asked, heads=head)
    label = calibrated(raws[1][0], head=head["intent"], temperature=temperatures["intent"])
    spans = calibrated(raws[1][1], head=head["slots"], temperature=temperatures["slots"])
    assert isinstance(label, ClassificationAnswer)
    assert isinstance(spans, SlotsAnswer)
    assert label.probability == pytest.approx(0.75, abs=0.01)
    assert spans.probabilities[0] == pytest.approx(0.75, abs=0.01)
    assert thresholds == {"intent": pytest.approx(label.probability)}
    assert span_logits(-700.0)[0] == pytest.approx(-50.0)


def test_a_bundle_answers_as_the_model_that_it_was_made_of(tmp_path: Path) -> None:
    answerer, module = make_answerer()
    settings = settings_of()
    save_decoder(module, tmp_path, tokenizer=answerer.asker.tokenizer, prompts=answerer.asker.prompts)
    job = JobSlice(model_name="tiny", seed=1, model=settings, tasks=SPECS)
    card = BundleCard(
        kind="decoder",
        job=job,
        heads=head_cards(HEADS),
        temperatures=dict.fromkeys(HEADS, 2.0),
        rejection_thresholds={},
        training=TrainingRecord(seconds=0, epochs=0, parameters=0),
        versions={},
    )
    write_card(card, tmp_path)
    model = load_model(tmp_path, device="cpu")
    answers = model.predict(TEXTS)
    for answer, raw in zip(answers, answerer.answer(TEXTS, tasks=list(HEADS)), strict=True):
        for task, head in HEADS.items():
            expected = calibrated(raw[task], head=head, temperature=2.0)
            if isinstance(expected, ClassificationAnswer):
                assert answer[task].probabilities == pytest.approx(expected.probabilities, abs=1e-5)
            else:
                assert answer[task].spans == expected.spans
    with pytest.raises(UnknownTask, match="'mood'"):
        model.predict(TEXTS, tasks=["mood"])
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(BundleError, match="cannot load it as a causal language model"):
        load_model(tmp_path, device="cpu")
