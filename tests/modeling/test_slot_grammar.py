"""The grammar of slot answers: all that it lets through are answers, and every right answer gets through."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskmix.data.labels import parse_brackets
from taskmix.data.labels import read_spans as read_annotation
from taskmix.data.schema import Span
from taskmix.modeling.answer_format import joint_pieces, read_joint, read_spans, span_pieces, words_of
from taskmix.modeling.prompt_tokens import piece_ids
from taskmix.modeling.slot_grammar import Place, SlotGrammar
from taskmix.training.decoder_scratch import train_decoder_tokenizer

MASSIVE = Path(__file__).resolve().parents[3] / "shared/data/massive/en-US.jsonl"
SLOTS = {"slots": ["time", "place", "place type"]}
TWO = {"slots": ["time", "place"], "people": ["person"]}


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return train_decoder_tokenizer(["time place person none five fiver fi"] * 9, vocabulary=330)


def grammar_of(tokenizer: Any, slots: dict[str, list[str]], *, end: str = "</s>") -> SlotGrammar:
    ids: dict[str, tuple[int, ...]] = {}
    end_ids = (tokenizer.eos_token_id,) if end == "</s>" else piece_ids(tokenizer, end)
    return SlotGrammar(
        slots, " ", len(slots) > 1, end_ids, lambda piece: ids.setdefault(piece, piece_ids(tokenizer, piece))
    )


def keys_of(tokenizer: Any, text: str) -> list[Any]:
    return [piece_ids(tokenizer, " " + word) for word in words_of(text)]


def walk(place: Place, ids: list[int]) -> Place:
    for token in ids:
        assert token in place.allowed(), (token, place.allowed())
        place = place.after(token)
    return place


@settings(max_examples=60, deadline=None)
@given(
    words=st.lists(st.sampled_from(["five", "fiver", "fi", "five", "a:", "\u00e9", "none", "(2):"]), max_size=7),
    seed=st.integers(0, 1 << 30),
    end=st.sampled_from(["</s>", "\n\n"]),
)
def test_whatever_it_lets_through_is_an_answer(tokenizer: Any, words: list[str], seed: int, end: str) -> None:
    text, choose = " ".join(words), random.Random(seed)
    place, ids = grammar_of(tokenizer, SLOTS, end=end).begin(keys_of(tokenizer, text)), list[int]()
    while not place.over:
        ids.append(choose.choice(place.allowed()))
        place = place.after(ids[-1])
        assert len(ids) < 500
    written = tokenizer.decode(ids).removesuffix("</s>")
    assert read_spans(written, text=text, slots=SLOTS["slots"]) == place.spans["slots"]
    assert [said.span for said in place.said] == sorted(said.span for said in place.said)
    for said in place.said:
        line = tokenizer.decode(ids[slice(*said.tokens)])
        assert line.split(": ", 1)[1] == " ".join(words[said.span.start : said.span.end])


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_every_right_answer_gets_through(tokenizer: Any, data: st.DataObject) -> None:
    words = data.draw(st.lists(st.sampled_from(["five", "fiver", "fi", "five"]), max_size=8))
    borders = sorted(data.draw(st.sets(st.integers(0, len(words)), max_size=8)))
    pairs = list(zip(borders[::2], borders[1::2], strict=False))
    spans = tuple(Span(start, end, data.draw(st.sampled_from(SLOTS["slots"]))) for start, end in pairs)
    keys = keys_of(tokenizer, " ".join(words))
    pieces = span_pieces(spans, words=words, lead=" ", keys=keys)
    ids = [token for piece in pieces for token in piece_ids(tokenizer, piece)]
    assert walk(grammar_of(tokenizer, SLOTS).begin(keys), [*ids, tokenizer.eos_token_id]).spans == {"slots": spans}


def test_several_tasks_are_answered_one_after_another(tokenizer: Any) -> None:
    text = "meet ann at five"
    answers: dict[str, Any] = {"slots": (Span(3, 4, "time"),), "people": (Span(1, 2, "person"),)}
    pieces = joint_pieces(answers, tasks=list(TWO), words=words_of(text), lead=" ")
    assert "".join(pieces) == " slots: time: five\npeople: person: ann"
    ids = [*(token for piece in pieces for token in piece_ids(tokenizer, piece)), tokenizer.eos_token_id]
    place = walk(grammar_of(tokenizer, TWO).begin(keys_of(tokenizer, text)), ids)
    assert place.spans == answers
    tasks = {task: ("slot_filling", slots) for task, slots in TWO.items()}
    assert read_joint("".join(pieces), text=text, tasks=tasks) == answers


def test_words_that_are_not_shown_are_never_copied(tokenizer: Any) -> None:
    keys = [piece_ids(tokenizer, " five"), 1, piece_ids(tokenizer, " five"), piece_ids(tokenizer, " fi")]
    grammar = grammar_of(tokenizer, SLOTS)
    opened = walk(grammar.begin(keys), list(piece_ids(tokenizer, " time:")))
    copied = walk(opened, list(keys[0]))  # type: ignore[call-overload]
    assert piece_ids(tokenizer, " five")[0] not in copied.allowed(), "the first `five` is followed by a gap"
    assert walk(copied, list(keys[3])).allowed()  # type: ignore[call-overload]  # `fi` follows: it was the second


@pytest.mark.skipif(not MASSIVE.is_file(), reason="the MASSIVE data is not beside the checkout")
def test_every_right_answer_of_massive_gets_through() -> None:
    rows = [json.loads(line) for line in MASSIVE.read_text(encoding="utf-8").splitlines()]
    slots = sorted({slot for row in rows for _, _, slot in parse_brackets(row["annot_utt"])[1]})
    tokenizer = train_decoder_tokenizer([row["utt"] for row in rows[:3000]], vocabulary=2000)
    grammar = grammar_of(tokenizer, {"slots": slots})
    for row in rows[::40]:
        gold = read_annotation(row["annot_utt"], text=row["utt"]) or ()
        keys = [grammar.piece_ids(" " + word) for word in words_of(row["utt"])]
        pieces = span_pieces(gold, words=words_of(row["utt"]), lead=" ", keys=keys)
        ids = [*(token for piece in pieces for token in grammar.piece_ids(piece)), tokenizer.eos_token_id]
        assert walk(grammar.begin(keys), ids).spans == {"slots": gold}
