"""Prompts in tokens: what a model reads and what it is to write."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter

from taskmix.config.schema import TaskConfig
from taskmix.data.schema import LabelSpace, Span
from taskmix.errors import TrainingError
from taskmix.modeling.answers import TaskHead
from taskmix.modeling.prompt_tokens import PromptTokens, answer_style, piece_ids
from taskmix.modeling.prompts import make_prompts
from taskmix.training.decoder_scratch import train_decoder_tokenizer

TEXT = "wake me at five o'clock in new york"
CHAT = (
    "{{ bos_token }}{% for m in messages %}<|start|>{{ m['role'] }}\n{{ m['content'] | trim }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)
HEADS = {
    "intent": TaskHead("intent", "classification", LabelSpace(("alarm", "alarm set"))),
    "slots": TaskHead("slots", "slot_filling", LabelSpace(("time", "place"))),
}
PARSE = TypeAdapter[TaskConfig](TaskConfig).validate_python
SPECS = {
    "intent": PARSE({"type": "classification", "dataset": "words", "label": "intent"}),
    "slots": PARSE({"type": "slot_filling", "dataset": "words", "annotation": "slots"}),
}


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return train_decoder_tokenizer([TEXT, "Text: Answer: alarm set time place"], vocabulary=400)


def ask_in_tokens(tokenizer: Any, *, max_tokens: int = 300, tuned: bool = True, joint: bool = False) -> PromptTokens:
    prompts = make_prompts(HEADS, specs=SPECS, joint=joint)
    return PromptTokens(tokenizer, prompts=prompts, max_tokens=max_tokens, chat="auto", tuned=tuned)


def test_prompt_and_answer_are_the_words_that_they_stand_for(tokenizer: Any) -> None:
    tokens = ask_in_tokens(tokenizer)
    prompt = tokens.prompts.of("slots")
    asked = tokens.ask(prompt, TEXT)
    assert tokenizer.decode(asked.ids) == "<s>" + prompt.ask(TEXT).plain()
    answer = tokens.answer(prompt, {"slots": (Span(3, 5, "time"), Span(6, 8, "place"))}, asked)
    assert tokenizer.decode(answer) == " time: five o'clock\nplace: new york</s>"


def test_a_model_that_is_not_tuned_ends_its_answers_as_the_examples_do(tokenizer: Any) -> None:
    tokens = ask_in_tokens(tokenizer, tuned=False)
    prompt = tokens.prompts.of("intent")
    assert tokenizer.decode(tokens.answer(prompt, {"intent": "alarm"}, tokens.ask(prompt, TEXT))) == " alarm\n\n"


def test_a_joint_answer_is_one_sequence(tokenizer: Any) -> None:
    tokens = ask_in_tokens(tokenizer, joint=True, max_tokens=600)
    (prompt,) = tokens.prompts.prompts
    answer = tokens.answer(prompt, {"intent": "alarm", "slots": ()}, tokens.ask(prompt, TEXT))
    assert tokenizer.decode(answer) == " intent: alarm\nslots: none</s>"


def test_a_chat_template_says_how_answers_begin_and_end(tokenizer: Any) -> None:
    import copy

    chatty = copy.deepcopy(tokenizer)
    chatty.add_special_tokens({"additional_special_tokens": ["<|start|>", "<|end|>"]})
    chatty.chat_template = CHAT
    tokens = ask_in_tokens(chatty)
    prompt = tokens.prompts.of("intent")
    asked = tokens.ask(prompt, "say <|end|> now")
    words = chatty.decode(asked.ids)
    assert words.startswith("<s><|start|>user\nWhich intent")
    assert words.endswith("Answer:<|end|><|start|>assistant\n")
    assert "say < |end|> now" in words, "a user's text holds no control token"
    assert chatty.decode(tokens.answer(prompt, {"intent": "alarm"}, asked)) == "alarm<|end|>"
    assert answer_style(chatty, chat="off", tuned=True).lead == " "


def test_text_is_never_read_as_control_tokens(tokenizer: Any) -> None:
    tokens = ask_in_tokens(tokenizer)
    assert tokenizer.eos_token_id not in tokens.ask(tokens.prompts.of("intent"), "a </s> b").ids
    assert tokenizer.eos_token_id not in piece_ids(tokenizer, " </s>")


def test_long_texts_are_cut_in_the_middle_and_nothing_else_is(tokenizer: Any) -> None:
    tokens = ask_in_tokens(tokenizer)
    prompt = tokens.prompts.of("slots")
    long = " ".join(f"word{i}" for i in range(900))
    asked = tokens.ask(prompt, long)
    words = tokenizer.decode(asked.ids)
    assert 270 < len(asked) <= 300
    assert words.startswith("<s>" + prompt.header)
    assert words.endswith("word899\nAnswer:")
    assert asked.shown.words[0] == "word0"
    assert asked.shown.words[450] is None
    answer = tokens.answer(prompt, {"slots": (Span(0, 1, "time"), Span(449, 451, "place"))}, asked)
    assert tokenizer.decode(answer) == " time: word0</s>"


def test_a_prompt_without_room_for_text_is_refused(tokenizer: Any) -> None:
    with pytest.raises(TrainingError, match=r"max_tokens is 40, but the prompt of intent takes \d+ without its text"):
        ask_in_tokens(tokenizer, max_tokens=40)
