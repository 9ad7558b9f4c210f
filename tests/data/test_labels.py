import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskmix.data.labels import parse_brackets, read_class, read_spans
from taskmix.data.schema import Span, spans_to_tags, split_words

TEXT = "wake me at five am on friday"
SPANS = (Span(3, 5, "time"), Span(6, 7, "date"))


@pytest.mark.parametrize(
    ("value", "label"),
    [(" buy ", "buy"), (3, "3"), (3.0, "3"), (True, "true"), (None, None), ("  ", None), (float("nan"), None)],
)
def test_class_is_read_from_what_tables_hold(value: object, label: str | None) -> None:
    assert read_class(value) == label


@pytest.mark.parametrize("value", [[], {}, 0.5, b"buy", float("inf")])
def test_value_that_is_no_class_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"is no label; allowed: text"):
        read_class(value)


@pytest.mark.parametrize(
    "annotation",
    [
        "wake me at [time : five am] on [date : friday]",
        [{"start": 11, "end": 18, "slot": "time"}, {"start": 22, "end": 28, "slot": "date"}],
        [{"start": 22, "end": 28, "slot": "date"}, {"start": 11, "end": 18, "slot": "time"}],
        ["O", "O", "O", "B-time", "I-time", "O", "B-date"],
    ],
)
def test_every_notation_of_spans_says_the_same(annotation: object) -> None:
    assert read_spans(annotation, text=TEXT) == SPANS


def test_null_annotation_is_no_label_and_empty_one_no_spans() -> None:
    assert read_spans(None, text=TEXT) is None
    assert read_spans([], text=TEXT) == ()
    assert read_spans(TEXT, text=TEXT) == ()
    assert read_spans([], text="") == ()
    assert read_spans("", text="") == ()


@pytest.mark.parametrize(
    ("annotation", "fault"),
    [
        ("wake me at [time : five am on friday", r"'\[' at character 12 of the text belongs to no"),
        ("wake me at time : five am] on friday", r"'\]' at character 26"),
        ("wake me at [time : [hour : five] am] on friday", r"belongs to no"),
        ("wake me at [five am] on friday", r"belongs to no"),
        ("wake me at [time : ] on friday", r"is not the text"),
        ("wake  me at [time : five am] on friday", r"is not the text; make both the same"),
        ([{"start": 12, "end": 18, "slot": "time"}], r"'time' from character 12 to 18 does not begin and end at word"),
        ([{"start": 11, "end": 19, "slot": "time"}], r"does not begin and end at word"),
        ([{"start": 11, "end": 11, "slot": "time"}], r"is empty or outside the text \(0 to 28\)"),
        ([{"start": 22, "end": 99, "slot": "time"}], r"is empty or outside"),
        ([{"start": -2, "end": 4, "slot": "time"}], r"is empty or outside"),
        ([{"start": 0, "end": 7, "slot": "a"}, {"start": 5, "end": 10, "slot": "b"}], r"'a' and 'b' overlap"),
        ([{"begin": 0, "end": 7, "slot": "a"}], r"it needs 'start' and 'end' \(whole numbers\) and 'slot'"),
        ([{"start": "0", "end": 7, "slot": "a"}], r"it needs 'start'"),
        ([{"start": 0, "end": 4, "slot": "a"}, "b"], r"a span is str"),
        (["O", "B-time"], r"2 BIO tags for 7 words"),
        (["O", "O", "O", "O", "I-time", "O", "O"], r"tag 5 is 'I-time' after 'O'; a span begins with 'B-time'"),
        (["O", "O", "O", "B-date", "I-time", "O", "O"], r"tag 5 is 'I-time' after 'B-date'"),
        (["O", "O", "O", "time", "O", "O", "O"], r"^tag 4 is no BIO tag; allowed: O, B-slot and I-slot"),
        (["O", "O", "O", 3, "O", "O", "O"], r"^tag 4 is no BIO tag"),
        (17, r"a value of type int is no annotation"),
        ([1, 2], r"a value of type list is no annotation"),
    ],
)
def test_annotation_that_cannot_be_is_refused_with_its_place(annotation: object, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        read_spans(annotation, text=TEXT)


WORD = st.text(st.characters(exclude_categories=["Cs", "Z", "C"], exclude_characters="[]:"), min_size=1, max_size=4)


@given(st.lists(st.tuples(st.sampled_from(["", "city", "time"]), st.lists(WORD, min_size=1, max_size=3)), max_size=6))
def test_brackets_and_tags_give_back_what_was_written(chunks: list[tuple[str, list[str]]]) -> None:
    annotated = " ".join(f"[{slot} : {' '.join(words)}]" if slot else " ".join(words) for slot, words in chunks)
    text = " ".join(word for _, words in chunks for word in words)
    assert parse_brackets(annotated)[0] == text
    spans = read_spans(annotated, text=text)
    assert spans is not None
    assert [span.slot for span in spans] == [slot for slot, _ in chunks if slot]
    assert read_spans(spans_to_tags(spans, words=len(split_words(text))) or None, text=text) in (spans, None)
