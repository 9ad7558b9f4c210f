"""Texts longer than an encoder reads at once: overlapping windows, and one answer made of theirs.

The rule: windows of `max_tokens`, each beginning half a window after the one before, the last ending with the text. A
classification's logits are the mean of the windows'; a word's tag logits are those of the window in which the word
stands farthest from an edge, since a token near one has seen little of its surroundings. A text that fits is one window
and answered as it always was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taskmix.modeling.tokens import TokenizedText


@dataclass(frozen=True)
class WindowRule:
    """How long texts are cut into windows.

    Attributes:
        max_tokens: of a window, special tokens counted.
        before: special tokens that every window begins with.
        after: special tokens that every window ends with.
    """

    max_tokens: int
    before: int
    after: int

    @property
    def room(self) -> int:
        """Tokens of the text in a full window."""
        return self.max_tokens - self.before - self.after


@dataclass(frozen=True)
class Window:
    """A part of a text.

    Attributes:
        text: its tokens, special ones included; it has no words of its own.
        start: position in the whole text's tokens of the window's first token after the special ones.
    """

    text: TokenizedText
    start: int


def window_rule(tokenizer: Any, *, max_tokens: int) -> WindowRule:
    """The rule for a tokenizer, whose special tokens are found by looking at an encoded text."""
    marks = tokenizer("a", return_special_tokens_mask=True)["special_tokens_mask"]
    inner = [position for position, special in enumerate(marks) if not special]
    before, after = inner[0], len(marks) - 1 - inner[-1]
    return WindowRule(max_tokens, before, after)


def cut_windows(text: TokenizedText, *, rule: WindowRule) -> list[Window]:
    """The windows of a text that was tokenized whole."""
    if len(text) <= rule.max_tokens:
        return [Window(text, rule.before)]
    first, last = rule.before, len(text) - rule.after - rule.room
    starts = [*range(first, last, max(1, rule.room // 2)), last]
    head, tail = text.ids[: rule.before], text.ids[len(text) - rule.after :]
    none = np.empty(0, np.int32)
    return [
        Window(TokenizedText(np.concatenate([head, text.ids[start : start + rule.room], tail]), none), start)
        for start in starts
    ]


def join_logits(
    windows: Sequence[Window], logits: Sequence[NDArray[np.float32]], *, tokens: int, rule: WindowRule
) -> NDArray[np.float32]:
    """A text's logits, of its windows': (labels,) for classification, (tokens, tags) for slot filling."""
    return join_labels(logits) if logits[0].ndim == 1 else join_tags(windows, logits, tokens=tokens, rule=rule)


def join_labels(logits: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """(labels,) logits of a text, of (labels,) each of its windows: their mean."""
    mean: NDArray[np.float32] = np.mean(logits, axis=0)
    return logits[0] if len(logits) == 1 else mean


def join_tags(
    windows: Sequence[Window], logits: Sequence[NDArray[np.float32]], *, tokens: int, rule: WindowRule
) -> NDArray[np.float32]:
    """(tokens, tags) logits of a text, of (tokens, tags) each of its windows.

    Args:
        windows: of the text.
        logits: of each window, special tokens included.
        tokens: of the whole text.
        rule: that it was cut by.
    """
    if len(windows) == 1:
        return logits[0]
    joined = np.zeros((tokens, logits[0].shape[-1]), np.float32)
    depth = np.full(tokens, -1)
    for window, rows in zip(windows, logits, strict=True):
        inner = rows[rule.before : len(rows) - rule.after]
        here = np.arange(len(inner))
        to_edge = np.minimum(here, len(inner) - 1 - here)
        deeper = to_edge > depth[window.start : window.start + len(inner)]
        places = window.start + here[deeper]
        joined[places], depth[places] = inner[deeper], to_edge[deeper]
    return joined
