"""Prompts and answers in tokens: chat templates, long texts cut to fit, and answers piece by piece.

    asker = PromptTokens(tokenizer, prompts=prompts, max_tokens=1024, chat="auto", tuned=True)
    asked = asker.ask(prompt, text)              # ids of the prompt, and which words of the text it shows
    ids = asker.answer(prompt, labels, asked)    # ids of the right answer, its end included: what training learns

Training and prediction both read this, so that a tuned model is asked at prediction as it was in training. The ids of
an answer are those of its pieces (`answer_format`), each tokenized by itself: a copied word is always the same tokens.
Text is never read as control tokens: `</s>` in a user's text is four characters.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from taskmix.data.schema import Span
from taskmix.errors import TrainingError
from taskmix.modeling.answer_format import Label, joint_pieces, label_pieces, span_pieces
from taskmix.modeling.cutting import ShownText, cut_middle, show_whole
from taskmix.modeling.prompts import BLANK_LINE, Prompt, PromptSet, TaskPrompt

LEAST_TEXT_TOKENS = 8
"""Room for the text that a prompt must leave. Arbitrary: less says nothing of a text."""
CACHED_PIECES = 1 << 17
_CONTENT = "\ue000"
"""A character of Unicode's private use area, which no template holds."""


@dataclass(frozen=True)
class Asked:
    """A prompt in tokens.

    Attributes:
        ids: (tokens,) int32, ready for the answer's first token.
        shown: what it shows of the text.
    """

    ids: NDArray[np.int32]
    shown: ShownText

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class AnswerStyle:
    """What stands around an answer.

    Attributes:
        lead: before its first piece: a blank, or nothing in a chat's turn.
        end_ids: after its last: the end of the turn, the end of the sequence, or a blank line.
        chat: whether prompts take the tokenizer's chat template.
    """

    lead: str
    end_ids: tuple[int, ...]
    chat: bool


class PromptTokens:
    """Asks in tokens what `prompts` asks in words.

    Args:
        tokenizer: a fast one, with an end-of-sequence token.
        prompts: of the job.
        max_tokens: of a prompt.
        chat: `auto` takes the tokenizer's chat template where it has one.
        tuned: whether the model has learnt (or will) how answers end; else they end as the prompt's examples do.

    Raises:
        TrainingError: a prompt leaves no room for the text.
    """

    def __init__(
        self, tokenizer: Any, *, prompts: PromptSet, max_tokens: int, chat: Literal["auto", "off"], tuned: bool
    ) -> None:
        self.tokenizer = tokenizer
        self.prompts = prompts
        self.max_tokens = max_tokens
        self.style = answer_style(tokenizer, chat=chat, tuned=tuned)
        self.piece_ids = lru_cache(CACHED_PIECES)(self._piece_ids)
        for prompt in prompts.prompts:
            self._check_room(prompt)

    def ask(self, prompt: TaskPrompt, text: str) -> Asked:
        """The prompt for a text, which is cut in its middle as far as `max_tokens` needs."""
        shown = show_whole(text)
        ids = self.ids_of(prompt.ask(text))
        if len(ids) <= self.max_tokens:
            return Asked(ids, shown)
        room = self.max_tokens - self.overhead(prompt)
        left = len(text)
        while len(ids) > self.max_tokens and left:
            left = min(left - 1, math.floor(left * room / (len(ids) - self.max_tokens + room)))
            shown = cut_middle(text, characters=left)
            ids = self.ids_of(prompt.ask(shown.text))
        return Asked(ids[: self.max_tokens], shown)

    def answer(self, prompt: TaskPrompt, labels: Mapping[str, Label], asked: Asked) -> NDArray[np.int32]:
        """The right answer in tokens, its end included; spans of words that cannot be copied are left out.

        Args:
            prompt: what was asked.
            labels: task to label, of every task of `prompt`.
            asked: the prompt in tokens.
        """
        words = [word or "" for word in asked.shown.words]
        keys = self.word_keys(asked.shown)
        told: dict[str, Label] = {}
        for task in prompt.tasks:
            label = labels[task]
            told[task] = label if isinstance(label, str) else tuple(span for span in label if _copyable(span, keys))
        label, lead = told[prompt.tasks[0]], self.style.lead
        if prompt.joint:
            pieces = joint_pieces(told, tasks=prompt.tasks, words=words, lead=lead, keys=keys)
        elif isinstance(label, str):
            pieces = label_pieces(label, lead=lead)
        else:
            pieces = span_pieces(label, words=words, lead=lead, keys=keys)
        return np.array(
            [*(token for piece in pieces for token in self.piece_ids(piece)), *self.style.end_ids], np.int32
        )

    def word_keys(self, shown: ShownText) -> list[Hashable]:
        """What tells the words of a text apart when they are copied: their tokens.

        A word that is not shown, or that the tokenizer drops, cannot be copied: its place stands for it.
        """
        return [
            place if word is None else self.piece_ids(" " + word) or place for place, word in enumerate(shown.words)
        ]

    def overhead(self, prompt: TaskPrompt) -> int:
        """Tokens of a prompt without its text."""
        return len(self.ids_of(prompt.ask("")))

    def ids_of(self, prompt: Prompt) -> NDArray[np.int32]:
        """A prompt's tokens, uncut."""
        if self.style.chat:
            ids = _chat_ids(self.tokenizer, prompt)
        else:
            ids = [*_leading_ids(self.tokenizer), *_encode(self.tokenizer, prompt.plain())]
        return np.array(ids, dtype=np.int32)

    def size(self, words: str) -> int:
        """How many tokens words are."""
        return len(_encode(self.tokenizer, words))

    def _piece_ids(self, piece: str) -> tuple[int, ...]:
        return piece_ids(self.tokenizer, piece)

    def _check_room(self, prompt: TaskPrompt) -> None:
        taken = self.overhead(prompt)
        if taken + LEAST_TEXT_TOKENS > self.max_tokens:
            raise TrainingError(
                f"recipe.max_tokens is {self.max_tokens}, but the prompt of {' + '.join(prompt.tasks)} takes {taken} "
                f"without its text: set it to {taken + LEAST_TEXT_TOKENS} or more, or shorten "
                f"tasks.{prompt.tasks[0]}.prompt.header"
            )


def _copyable(span: Span, keys: Sequence[Hashable]) -> bool:
    return all(isinstance(key, tuple) for key in keys[span.start : span.end])


def answer_style(tokenizer: Any, *, chat: Literal["auto", "off"], tuned: bool) -> AnswerStyle:
    """How answers begin and end for a model with this tokenizer. See `PromptTokens`.

    A chat template is asked by example: what it puts around the assistant's words is what stands around an answer.
    """
    end = (int(tokenizer.eos_token_id),)
    if chat == "auto" and getattr(tokenizer, "chat_template", None):
        question = [{"role": "user", "content": "?"}]
        asked = tokenizer.apply_chat_template(question, tokenize=False, add_generation_prompt=True)
        answered = tokenizer.apply_chat_template(
            [*question, {"role": "assistant", "content": _CONTENT}], tokenize=False
        )
        if not answered.startswith(asked):
            return AnswerStyle("", end, chat=True)
        lead, _, tail = answered[len(asked) :].partition(_CONTENT)
        tail_ids = tokenizer(tail.strip(), add_special_tokens=False)["input_ids"] if tail.strip() else []
        return AnswerStyle(lead, tuple(tail_ids[:1]) or end, chat=True)
    return AnswerStyle(" ", end if tuned else piece_ids(tokenizer, BLANK_LINE), chat=False)


def piece_ids(tokenizer: Any, piece: str) -> tuple[int, ...]:
    """The tokens of a piece of an answer as they follow other text.

    Tokenized after a letter or a line break, which is then taken off: tokenizers of the sentencepiece kind put a blank
    of their own before what comes first.
    """
    anchor = "a" if piece[:1].isspace() else "\n"
    before, both = _encode(tokenizer, anchor), _encode(tokenizer, anchor + piece)
    if both[: len(before)] == before:
        return tuple(both[len(before) :])
    return tuple(_encode(tokenizer, piece))


def _encode(tokenizer: Any, text: str) -> list[int]:
    """Tokens of text, without special ones: neither added, nor read out of it."""
    ids: list[int] = tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    return ids


def _leading_ids(tokenizer: Any) -> list[int]:
    """What the tokenizer puts before every text: the beginning of the sequence, if it has one."""
    ids: list[int] = tokenizer("a")["input_ids"]
    return ids[: ids.index(_encode(tokenizer, "a")[0])]


def _chat_ids(tokenizer: Any, prompt: Prompt) -> list[int]:
    """A chat's tokens. The header goes into the first turn: not every template knows the system's role."""
    specials = [token for token in tokenizer.all_special_tokens if len(token) > 1]
    messages = prompt.messages(system=False)
    for message in messages:
        for token in specials:
            if token in message["content"]:
                message["content"] = message["content"].replace(token, f"{token[0]} {token[1:]}")
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids
