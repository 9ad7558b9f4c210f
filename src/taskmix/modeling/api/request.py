"""A text asked of a chat endpoint: the request's body, and what an endpoint may refuse of it.

The words are those of decoders (`modeling.prompts`). Where the endpoint binds answers to a JSON schema, examples and
answer are JSON (`structured`); else they are lines of text (`answer_format`), as decoders write them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from taskmix.config.schema import ApiModel
from taskmix.errors import TrainingError
from taskmix.modeling.answers import TaskHead
from taskmix.modeling.api.structured import answer_schema, write_structured
from taskmix.modeling.cutting import GAP, ShownText, cut_middle, show_whole
from taskmix.modeling.prompts import Prompt, TaskPrompt

LEAST_TEXT_CHARACTERS = 64
"""Room for the text that a prompt must leave. Arbitrary: less says nothing of a text."""


@dataclass(frozen=True)
class Dialect:
    """What of a request is not understood by every endpoint, or not by every model of one.

    Attributes:
        structured: bind the answer to a JSON schema (`response_format`).
        logprobs: ask for the answer's log-probabilities.
        temperature: ask for the likeliest answer; models that think first refuse to be told.
        length_key: how the answer's length is bounded; newer models of OpenAI take the longer word only.
    """

    structured: bool
    logprobs: bool
    temperature: bool = True
    length_key: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"

    def without(self, refusal: str, *, settings: ApiModel) -> Dialect | None:
        """The dialect to try after a refusal; null where nothing is left to leave out.

        Args:
            refusal: the endpoint's words. They name what is refused, as a rule; where they do not, the two parts that
                small servers lack are left out together.
            settings: say what must stay.
        """
        may_loosen = self.structured and settings.structured_output == "auto"
        if "max_completion_tokens" in refusal and self.length_key == "max_tokens":
            return replace(self, length_key="max_completion_tokens")
        if "logprobs" in refusal and self.logprobs:
            return replace(self, logprobs=False)
        if "temperature" in refusal and self.temperature:
            return replace(self, temperature=False)
        if may_loosen and any(word in refusal for word in ("response_format", "json_schema", "schema")):
            return replace(self, structured=False)
        if may_loosen or self.logprobs:
            return replace(self, structured=self.structured and not may_loosen, logprobs=False)
        return None


def first_dialect(settings: ApiModel) -> Dialect:
    """All that the configuration lets be asked for."""
    return Dialect(structured=settings.structured_output != "off", logprobs=settings.logprobs == "auto")


@dataclass(frozen=True)
class Question:
    """A text, asked.

    Attributes:
        prompt: which tasks are asked, and in what words.
        text: the whole text.
        shown: what the endpoint is shown of it.
    """

    prompt: TaskPrompt
    text: str
    shown: ShownText


def make_question(prompt: TaskPrompt, text: str, *, room: int) -> Question:
    """A text, cut in its middle where it has more characters than `room`, which `room_for_text` tells."""
    if len(text) <= room:
        return Question(prompt, text, show_whole(text))
    return Question(prompt, text, cut_middle(text, characters=room - len(GAP)))


def room_for_text(prompt: TaskPrompt, *, settings: ApiModel) -> int:
    """Characters that the prompt leaves for its text.

    Raises:
        TrainingError: hardly any.
    """
    taken = sum(len(message["content"]) for message in messages_of(prompt.ask("")))
    room = settings.max_prompt_characters - taken
    if room < LEAST_TEXT_CHARACTERS:
        raise TrainingError(
            f"max_prompt_characters is {settings.max_prompt_characters}, but the prompt of {' + '.join(prompt.tasks)} "
            f"takes {taken} without its text: set it to {taken + LEAST_TEXT_CHARACTERS} or more, or ask for fewer shots"
        )
    return room


def messages_of(prompt: Prompt) -> list[dict[str, str]]:
    """The prompt as chat messages."""
    return prompt.messages(system=True)


def make_body(
    question: Question, *, settings: ApiModel, dialect: Dialect, heads: Mapping[str, TaskHead]
) -> dict[str, Any]:
    """What is sent."""
    prompt = question.prompt
    asked = prompt.ask(question.shown.text)
    body: dict[str, Any] = {"model": settings.model}
    if dialect.structured:
        answers = [write_structured(shot, tasks=prompt.tasks) for shot in prompt.shots]
        shown = tuple((words, answer) for (words, _), answer in zip(asked.shots, answers, strict=True))
        asked = replace(asked, shots=shown)
        body["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": "answer", "strict": True, "schema": answer_schema(prompt.tasks, heads=heads)},
        }
    body["messages"] = messages_of(asked)
    body[dialect.length_key] = settings.max_output_tokens
    if dialect.temperature:
        body["temperature"] = 0
    if dialect.logprobs:
        body["logprobs"] = True
    return body
