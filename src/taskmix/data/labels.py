"""From a source's value to a label: class names, and spans in any of their notations.

Notations of spans: text with `[slot : words]`, a list of {start, end, slot} counted in characters, or a list of BIO
tags, one a word. All of them end in spans of words. Faults are `ValueError`s that say what was found and what is
allowed; ingest adds where.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise

from taskmix.data.schema import Span, split_words, tags_to_spans

_BRACKETS = re.compile(r"\[\s*([^\[\]:]+?)\s+:\s+([^\[\]]*?)\s*\]")
_TAG = re.compile(r"O|[BI]-\S+")


def read_class(value: object) -> str | None:
    """The label that a value means, without white space around it; None where there is none (null, empty).

    Whole numbers and truth values become their usual spelling (`3`, also for 3.0; `true`).

    Raises:
        ValueError: the value is a list, a mapping or a fraction, which cannot be a class.
    """
    match value:
        case None:
            return None
        case str():
            return value.strip() or None
        case bool():
            return str(value).lower()
        case int():
            return str(value)
        case float() if value != value:
            return None  # pandas writes a missing number as NaN
        case float() if value.is_integer():
            return str(int(value))
    raise ValueError(
        f"a value of type {type(value).__name__} is no label; allowed: text, a whole number or a truth value"
    )


def read_spans(value: object, *, text: str) -> tuple[Span, ...] | None:
    """The spans of `text`, in its order, in words; None where the value is null.

    Raises:
        ValueError: the notation does not parse, is of another text, or a span overlaps another, is empty or does not
            begin and end where words do.
    """
    match value:
        case None:
            return None
        case str():
            plain, marked = parse_brackets(value)
            if plain != text:
                raise ValueError("the annotation without its brackets is not the text; make both the same, spaces too")
            return _to_words(marked, text=text)
        case [] | [Mapping(), *_]:
            return _to_words([_read_mapping(entry) for entry in value], text=text)
        case [str(), *_]:
            return _read_tags(value, text=text)
    raise ValueError(
        f"a value of type {type(value).__name__} is no annotation; allowed: text with [slot : words], a list of "
        "{start, end, slot} in characters, or a list of BIO tags, one a word"
    )


def parse_brackets(annotated: str) -> tuple[str, list[tuple[int, int, str]]]:
    """The plain text of `wake me at [time : five am]`, and its spans as (start, end, slot) in characters.

    Raises:
        ValueError: a bracket is open, nested, or holds no `slot : words`.
    """
    plain, spans, position, length = [], [], 0, 0
    for match in _BRACKETS.finditer(annotated):
        before, words = annotated[position : match.start()], match.group(2)
        plain += [before, words]
        start = length + len(before)
        length = start + len(words)
        spans.append((start, length, match.group(1)))
        position = match.end()
    rest = annotated[position:]
    text = "".join([*plain, rest])
    stray = re.search(r"[\[\]]", text)
    if stray:
        raise ValueError(
            f"a {stray.group()!r} at character {stray.start() + 1} of the text belongs to no [slot : words]; close the "
            "bracket, or give spans as a list of {start, end, slot} where texts hold brackets"
        )
    return text, spans


def _read_mapping(entry: object) -> tuple[int, int, str]:
    match entry:
        case {"start": int(start), "end": int(end), "slot": str(slot)} if slot.strip():
            return start, end, slot.strip()
    found = sorted(entry) if isinstance(entry, Mapping) else type(entry).__name__
    raise ValueError(f"a span is {found}; it needs 'start' and 'end' (whole numbers) and 'slot' (text)")


def _read_tags(tags: Sequence[object], *, text: str) -> tuple[Span, ...]:
    words = len(split_words(text))
    if len(tags) != words:
        raise ValueError(f"{len(tags)} BIO tags for {words} words; give one a word, words parted by white space")
    before = "O"
    for position, tag in enumerate(tags):
        if not isinstance(tag, str) or not _TAG.fullmatch(tag):
            raise ValueError(f"tag {position + 1} is no BIO tag; allowed: O, B-slot and I-slot")  # it may be a word
        if tag[0] == "I" and before[1:] != tag[1:]:
            raise ValueError(f"tag {position + 1} is {tag!r} after {before!r}; a span begins with 'B-{tag[2:]}'")
        before = tag
    return tuple(tags_to_spans([str(tag) for tag in tags]))


def _to_words(marked: Sequence[tuple[int, int, str]], *, text: str) -> tuple[Span, ...]:
    words = split_words(text)
    starts = {word.start: index for index, word in enumerate(words)}
    ends = {word.end: index + 1 for index, word in enumerate(words)}
    spans = []
    for start, end, slot in sorted(marked):
        if not 0 <= start < end <= len(text):
            raise ValueError(
                f"the span of {slot!r} from {start} to {end} is empty or outside the text (0 to {len(text)})"
            )
        if start not in starts or end not in ends:
            raise ValueError(
                f"the span of {slot!r} from character {start} to {end} does not begin and end at word borders; a slot "
                "covers whole words, parted by white space"
            )
        spans.append(Span(starts[start], ends[end], slot))
    for first, second in pairwise(spans):
        if second.start < first.end:
            raise ValueError(f"the spans of {first.slot!r} and {second.slot!r} overlap; a word has one slot at most")
    return tuple(spans)
