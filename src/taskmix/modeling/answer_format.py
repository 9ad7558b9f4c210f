r"""How an answer is written for, and read from, a language model; exact both ways.

A classification's answer is its label as it stands. Slots are lines `slot: words` in the order of the text, the words
copied and parted by one blank, or `none`; an answer to several tasks at once puts `task: ` before every line:

    time: five am             intent: alarm_set
    date: tomorrow            slots: time: five am
                              slots: date: tomorrow

Words hold no white space (`split_words`), so a line break cannot be part of one and every line is read in one way.
Which occurrence of its words a span means: the first that begins where the span before it ends or later. Where that is
not it, a number says which from there on: `time (2): five`. So every list of spans that do not overlap comes back as
it was.

An answer is also a sequence of pieces (`label_pieces`, `span_pieces`, ...), which `"".join` makes the text: a label, a
`slot:`, a word each. Decoders read and write tokens piece by piece, so that a word copied is a whole word and training
and prediction see the same tokens. `lead` is what stands before the first piece: a blank, or nothing in a chat's turn.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence

from taskmix.data.schema import Span, split_words

NO_SPANS = "none"
Label = str | tuple[Span, ...]


class InvalidAnswer(ValueError):
    """An answer that is none of the task's: an unknown label or slot, words that are not the text's, no line at all."""


def write_label(label: str) -> str:
    """The answer to a classification."""
    return label


def write_spans(spans: Sequence[Span], *, text: str) -> str:
    """The answer to slot filling."""
    return "".join(span_pieces(spans, words=words_of(text), lead=""))


def write_joint(answers: Mapping[str, Label], *, tasks: Sequence[str], text: str) -> str:
    """The answer to several tasks at once, in the order of `tasks`."""
    return "".join(joint_pieces(answers, tasks=tasks, words=words_of(text), lead=""))


def words_of(text: str) -> tuple[str, ...]:
    """The words that spans of a text are made of."""
    return tuple(word.text for word in split_words(text))


def label_pieces(label: str, *, lead: str) -> list[str]:
    """A label's one piece."""
    return [lead + label]


def span_pieces(
    spans: Sequence[Span], *, words: Sequence[str], lead: str, task: str = "", keys: Sequence[Hashable] | None = None
) -> list[str]:
    """The pieces of slots: a slot's opening, then a piece a word, and so on.

    Args:
        spans: in the order of the text, without overlap.
        words: of the text.
        lead: what the answer begins with.
        task: written before every line in an answer to several tasks.
        keys: what tells words apart, one a word; null takes the words themselves.
    """
    if not spans:
        return [no_spans_piece(lead=lead, task=task)]
    pieces = []
    end = 0
    for span in spans:
        rank = rank_of(span, keys=words if keys is None else keys, after=end)
        pieces += [opening_piece(span.slot, rank=rank, lead=lead, task=task)]
        pieces += [" " + word for word in words[span.start : span.end]]
        lead, end = "\n", span.end
    return pieces


def joint_pieces(
    answers: Mapping[str, Label],
    *,
    tasks: Sequence[str],
    words: Sequence[str],
    lead: str,
    keys: Sequence[Hashable] | None = None,
) -> list[str]:
    """The pieces of an answer to several tasks: for a label `task:` and the label, for slots as `span_pieces`."""
    pieces = []
    for task in tasks:
        label = answers[task]
        if isinstance(label, str):
            pieces += [task_piece(task, lead=lead), *label_pieces(label, lead=" ")]
        else:
            pieces += span_pieces(label, words=words, lead=lead, task=task, keys=keys)
        lead = "\n"
    return pieces


def task_piece(task: str, *, lead: str) -> str:
    """What stands before a label in an answer to several tasks."""
    return f"{lead}{task}:"


def opening_piece(slot: str, *, rank: int, lead: str, task: str = "") -> str:
    """What stands before a span's words; `rank` counts from 1."""
    number = "" if rank == 1 else f" ({rank})"
    return f"{lead}{_of(task)}{slot}{number}:"


def no_spans_piece(*, lead: str, task: str = "") -> str:
    """What says that no slot is filled."""
    return f"{lead}{_of(task)}{NO_SPANS}"


def confusable_slots(slots: Sequence[str]) -> tuple[str, str] | None:
    """Two slots of which one's line could be read as the other's, such as `time` and `time (2)`; null if none are."""
    for short in slots:
        for long in slots:
            if long.startswith(short) and long != short and re.match(r"( \(\d+\))?:", long[len(short) :] + ":"):
                return short, long
    return None


def rank_of(span: Span, *, keys: Sequence[Hashable], after: int) -> int:
    """Which occurrence of its words `span` is, from 1, among those that begin at word `after` or later."""
    return 1 + occurrences(keys[span.start : span.end], keys=keys, after=after).index(span.start)


def occurrences(wanted: Sequence[Hashable], *, keys: Sequence[Hashable], after: int) -> list[int]:
    """Where `wanted` stands among `keys`: every first index from `after` on."""
    length = len(wanted)
    return [
        start for start in range(after, len(keys) - length + 1) if list(keys[start : start + length]) == list(wanted)
    ]


def read_label(answer: str, *, labels: Sequence[str]) -> str:
    """The label in an answer; white space around it does not count.

    Raises:
        InvalidAnswer: it is none of `labels`.
    """
    found = {label.strip(): label for label in labels}.get(answer.strip())
    if found is None:
        raise InvalidAnswer("is no label of the task")
    return found


def read_spans(answer: str, *, text: str, slots: Sequence[str]) -> tuple[Span, ...]:
    """The spans in an answer.

    Raises:
        InvalidAnswer: a line is no `slot: words`, its slot is none of `slots`, or its words do not stand in the text
            after those of the line before.
    """
    words = words_of(text)
    lines = answer.strip().split("\n")
    if lines == [NO_SPANS]:
        return ()
    spans: list[Span] = []
    for line in lines:
        spans.append(_read_line(line, words=words, slots=slots, after=spans[-1].end if spans else 0))
    return tuple(spans)


def read_joint(answer: str, *, text: str, tasks: Mapping[str, tuple[str, Sequence[str]]]) -> dict[str, Label]:
    """The answers in an answer to several tasks; a task that is answered badly, or not at all, is left out.

    Args:
        answer: what the model wrote.
        text: that was asked about.
        tasks: task to its type and its labels.
    """
    lines: dict[str, list[str]] = {}
    for line in answer.strip().split("\n"):
        task, colon, rest = line.partition(": ")
        if colon and task in tasks:
            lines.setdefault(task, []).append(rest)
    read: dict[str, Label] = {}
    for task, rest_lines in lines.items():
        kind, labels = tasks[task]
        try:
            own = "\n".join(rest_lines)
            spans = kind == "slot_filling"
            read[task] = read_spans(own, text=text, slots=labels) if spans else read_label(own, labels=labels)
        except InvalidAnswer:
            continue
    return read


def _read_line(line: str, *, words: Sequence[str], slots: Sequence[str], after: int) -> Span:
    """One `slot: words` or `slot (2): words`; of two slots that a line could open with, the longer one is meant."""
    for slot in sorted(slots, key=len, reverse=True):
        if not line.startswith(slot):
            continue
        number, colon, rest = line[len(slot) :].partition(":")
        rank = number.removeprefix(" (").removesuffix(")")
        if not colon or (number and (number != f" ({rank})" or not rank.isdecimal() or int(rank) < 2)):
            continue
        wanted = rest.split()
        found = occurrences(wanted, keys=words, after=after) if wanted else []
        if len(found) < int(rank or 1):
            raise InvalidAnswer("copies words that do not stand in the text there")
        start = found[int(rank or 1) - 1]
        return Span(start, start + len(wanted), slot)
    raise InvalidAnswer("opens with no slot of the task")


def _of(task: str) -> str:
    return f"{task}: " if task else ""
