import io
import json

import pytest
from word_counter import WordCounter, counter_system

from taskmix.errors import DataError, UnknownTask
from taskmix.serving.predict_file import predict_file
from taskmix.serving.predictor import Limits


def run(source: bytes, **options) -> tuple[list[dict], list[str], str | None]:
    """The answers, what was told of bad lines, and the error at the end."""
    sink, told, error = io.StringIO(), [], None
    try:
        answered = predict_file(
            counter_system(), source=io.BytesIO(source), sink=sink, name="in.txt", tell=told.append, **options
        )
        assert answered == sink.getvalue().count("\n") == source.rstrip(b"\n").count(b"\n") + 1
    except DataError as caught:
        error = str(caught)
    return [json.loads(line) for line in sink.getvalue().splitlines()], told, error


def test_each_line_of_text_or_json_gives_one_in_order() -> None:
    answers, told, error = run(
        b'wake me at 9\n\n{"text": "a", "tasks": ["length"], "id": "x"}\r\n{"text": "", "id": 7}'
    )

    assert [list(answer) for answer in answers] == [
        ["length", "numbers"],
        ["length", "numbers"],
        ["id", "length"],
        ["id", "length", "numbers"],
    ]
    assert [answers[2]["id"], answers[3]["id"]] == ["x", 7]
    assert answers[0]["numbers"][0]["text"] == "9"
    assert answers[1]["numbers"] == []
    assert (told, error) == ([], None)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (b"{not json", "in.txt line 2: is no JSON"),
        (b'{"text": 7}', "in.txt line 2.text: found a number; allowed is a string"),
        (b'{"text": "a", "tasks": ["mood"]}', "in.txt line 2.tasks[0]: found 'mood'"),
        (b'{"words": "a"}', "in.txt line 2.'words': is not a key"),
        (b'{"text": "a", "id": [1]}', "in.txt line 2.id: found an array of 1"),
        (b'{"text": "a", "id": NaN}', "in.txt line 2.id: found a number"),
        (b'{"text": "\\ud800"}', "in.txt line 2.text: found half of a surrogate pair"),
        (b'{"text": ' + b"9" * 5000 + b"}", "in.txt line 2: is JSON that no one can read"),
        (b'{"text": ' + b"[" * 100_000, "in.txt line 2: is JSON that no one can read"),
        (b"caf\xe9", "in.txt line 2: is not UTF-8 (byte 3)"),
        (b"x" * 51, "in.txt line 2.text: found 51 characters; allowed are 50"),
    ],
)
def test_a_bad_line_is_told_with_its_number_and_the_others_are_answered(line: bytes, fault: str) -> None:
    answers, told, error = run(b"first\n" + line + b"\nthird\n", limits=Limits(max_characters=50))

    assert [list(answer) for answer in answers] == [["length", "numbers"], ["error"], ["length", "numbers"]]
    assert told[0].startswith(fault)
    assert answers[1]["error"] == told[0]
    assert error == "in.txt: 1 of 3 lines were not answered; correct the lines told above"


def test_text_that_looks_like_json_can_be_taken_as_text() -> None:
    answers, _, error = run(b"{curly 7}", form="text")

    assert len(answers) == 1
    assert error is None


def test_json_lines_must_be_objects() -> None:
    assert run(b'"text"', form="jsonl")[1] == [
        'in.txt line 1: found a string of 4 characters; allowed is an object {"text": ...}'
    ]


def test_the_tasks_given_are_asked_where_a_line_names_none() -> None:
    answers, _, _ = run(b'a\n{"text": "b", "tasks": ["numbers"]}', tasks=["length"])

    assert [list(answer) for answer in answers] == [["length"], ["numbers"]]


def test_an_unknown_task_is_refused_before_anything_is_read() -> None:
    with pytest.raises(UnknownTask, match=r"tasks \['mood'\] are not among \['length', 'numbers'\]"):
        run(b"a", tasks=["mood"])


def test_answers_stream_while_lines_still_come() -> None:
    model, sink = WordCounter(), io.StringIO()
    seen = []

    def lines():
        for index in range(4):
            seen.append(sink.getvalue().count("\n"))
            yield f"text {index}\n".encode()

    predict_file(counter_system(model), source=lines(), sink=sink, name="-", at_once=2)

    assert seen == [0, 0, 2, 2]
    assert model.calls == [2, 2]


def test_a_byte_order_mark_is_no_part_of_the_text() -> None:
    answers, _, _ = run(b"\xef\xbb\xbf7 up")

    assert answers[0]["numbers"][0]["start"] == 0
