"""Long texts, cut in their middle: beginnings and ends tell most of what a text is about."""

from __future__ import annotations

from dataclasses import dataclass

from taskmix.data.schema import Span, split_words

GAP = " [...] "


@dataclass(frozen=True)
class ShownText:
    """What a model is shown of a text.

    Attributes:
        text: the text, or its beginning and end around `GAP`.
        words: the words of the whole text, in order; null for one that is not shown, or not as a whole.
    """

    text: str
    words: tuple[str | None, ...]

    def shows(self, span: Span) -> bool:
        """Whether every word of a span is shown."""
        return None not in self.words[span.start : span.end]


def show_whole(text: str) -> ShownText:
    """A text that is not cut."""
    return ShownText(text, tuple(word.text for word in split_words(text)))


def cut_middle(text: str, *, characters: int) -> ShownText:
    """The text with `characters` of it left, half from its beginning and half from its end.

    Words are not broken, but where one alone fills a half.
    """
    if characters >= len(text):
        return show_whole(text)
    head_end = _back_to_blank(text, characters - characters // 2)
    tail_start = len(text) - _back_to_blank(text[::-1], characters // 2)
    words = split_words(text)
    return ShownText(
        text[:head_end].rstrip() + GAP + text[tail_start:].lstrip(),
        tuple(word.text if word.end <= head_end or word.start >= tail_start else None for word in words),
    )


def _back_to_blank(text: str, length: int) -> int:
    """The greatest length up to `length` at which no word is broken; `length` itself if there is none but 0."""
    end = length
    while 0 < end < len(text) and not (text[end].isspace() or text[end - 1].isspace()):
        end -= 1
    return end or length
