import json

import pytest
from word_counter import WordCounter, counter_system

from taskmix.errors import RequestError
from taskmix.serving.predictor import Instance, Limits, parse_instances, predict

TASKS = ("length", "numbers")
LIMITS = Limits(max_instances=3, max_characters=20)


def faults_of(body: object) -> tuple[str, ...]:
    with pytest.raises(RequestError) as caught:
        parse_instances(body, tasks=TASKS, limits=LIMITS)
    assert 400 <= caught.value.status < 500
    return caught.value.faults


def test_instances_ask_all_tasks_unless_they_name_some() -> None:
    body = {"instances": [{"text": "a"}, {"text": "b", "tasks": ["numbers", "numbers"]}, {"text": "", "tasks": None}]}

    parsed = parse_instances(body, tasks=TASKS, limits=LIMITS)

    assert parsed == (Instance("a", TASKS), Instance("b", ("numbers",)), Instance("", TASKS))


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ([], 'the body: found an array of 0; allowed is an object {"instances": [{"text": ...}, ...]}'),
        (None, "the body: found null"),
        ("text", "the body: found a string of 4 characters"),
        ({}, "instances: is missing"),
        ({"instance": []}, "'instance': is not a key of a request"),
        ({"instances": "a"}, "instances: found a string of 1 characters; allowed is an array"),
        ({"instances": {"text": "a"}}, "instances: found an object; allowed is an array"),
        ({"instances": ["a"]}, "instances[0]: found a string of 1 characters; allowed is an object"),
        ({"instances": [{}]}, "instances[0].text: is missing; allowed is a string"),
        ({"instances": [{"text": "a"}, {"text": 7}]}, "instances[1].text: found a number; allowed is a string"),
        ({"instances": [{"text": True}]}, "instances[0].text: found a boolean; allowed is a string"),
        ({"instances": [{"text": "a" * 21}]}, "instances[0].text: found 21 characters; allowed are 20"),
        ({"instances": [{"text": "\ud800"}]}, "instances[0].text: found half of a surrogate pair"),
        ({"instances": [{"text": "a", "task": []}]}, "instances[0].'task': is not a key of an instance"),
        ({"instances": [{"text": "a", "tasks": "length"}]}, "instances[0].tasks: found a string of 6 characters"),
        ({"instances": [{"text": "a", "tasks": []}]}, "instances[0].tasks: found an empty array"),
        (
            {"instances": [{"text": "a", "tasks": ["mood"]}]},
            "instances[0].tasks[0]: found 'mood'; allowed is an array of",
        ),
        ({"instances": [{"text": "a", "tasks": [{}]}]}, "instances[0].tasks[0]: found an object"),
        ({"instances": [{"text": "a"}] * 4}, "instances: found 4 instances; allowed are 3"),
    ],
)
def test_a_fault_is_told_with_where_found_and_allowed(body: object, fault: str) -> None:
    assert faults_of(body)[0].startswith(fault)


def test_all_faults_are_told_at_once() -> None:
    faults = faults_of({"instances": [{"text": 1, "tasks": ["mood"]}, {"text": "good"}, 3]})

    assert [fault.split(":")[0] for fault in faults] == ["instances[0].text", "instances[0].tasks[0]", "instances[2]"]


def test_of_very_many_faults_the_first_ten_are_told() -> None:
    faults = faults_of({"instances": [{"text": "a", "tasks": ["mood"] * 25}]})

    assert len(faults) == 11
    assert faults[-1] == "and 15 more"


def test_a_fault_never_quotes_a_text() -> None:
    faults = faults_of({"instances": ["my secret", {"text": "my secret " * 9}, {"text": ["my secret"]}]})

    assert len(faults) == 3
    assert "secret" not in "".join(faults)


def test_a_name_of_any_length_makes_a_short_fault() -> None:
    assert len(faults_of({"instances": [{"text": "a", "tasks": ["m" * 100_000]}]})[0]) < 250


def test_predictions_have_the_shape_of_the_design() -> None:
    (prediction,) = predict(counter_system(), [Instance("wake me  at 9 or 10", TASKS)])

    assert json.loads(json.dumps(prediction)) == {
        "length": {"label": "long", "probability": 0.75, "in_scope": True},
        "numbers": [
            {"slot": "number", "text": "9", "start": 12, "end": 13, "probability": 0.75},
            {"slot": "number", "text": "10", "start": 17, "end": 19, "probability": 0.75},
        ],
    }


@pytest.mark.parametrize("text", ["wake me at 9", " 9\tü 10 ", "日本 7 \U0001f600 8", "9"])
def test_a_slot_lies_where_its_offsets_say(text: str) -> None:
    (prediction,) = predict(counter_system(), [Instance(text, ("numbers",))])

    assert prediction["numbers"]
    for slot in prediction["numbers"]:
        assert text[slot["start"] : slot["end"]] == slot["text"]
        assert slot["text"].isdigit()


def test_an_answer_below_the_threshold_is_out_of_scope() -> None:
    predictions = predict(counter_system(), [Instance("a b c d", ("length",)), Instance("a b c", ("length",))])

    assert [(p["length"]["probability"], p["length"]["in_scope"]) for p in predictions] == [(0.5, False), (0.625, True)]


def test_instances_that_ask_the_same_tasks_share_one_call() -> None:
    model = WordCounter()
    asked = [("length",), ("numbers",), ("length",), TASKS]

    predictions = predict(counter_system(model), [Instance("a 1", tasks) for tasks in asked])

    assert [tuple(prediction) for prediction in predictions] == asked
    assert model.calls == [2, 1, 1]
