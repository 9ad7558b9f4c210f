import json
import struct
from typing import Any

import pytest
from word_counter import counter_system

from taskmix.errors import RequestError
from taskmix.serving.open_inference import output_types, parse_infer, render_infer
from taskmix.serving.predictor import Limits, predict

SYSTEM = counter_system()
LIMITS = Limits(max_instances=3, max_characters=20)


def body(**changes: Any) -> dict[str, Any]:
    tensor = {"name": "text", "datatype": "BYTES", "shape": [2], "data": ["a 1", "b"]}
    return {"inputs": [{**tensor, **changes}]}


def fault_of(request: object, *, binary: bytes = b"") -> str:
    with pytest.raises(RequestError) as caught:
        parse_infer(request, binary=binary, heads=SYSTEM.heads, limits=LIMITS)
    assert 400 <= caught.value.status < 500
    return caught.value.faults[0]


def answer(request: dict[str, Any], *, binary: bytes = b"") -> dict[str, Any]:
    parsed = parse_infer(request, binary=binary, heads=SYSTEM.heads, limits=LIMITS)
    return render_infer(predict(SYSTEM, parsed.instances), parsed, name="counter", heads=SYSTEM.heads)


def test_every_task_is_answered_in_tensors() -> None:
    response = answer({**body(), "id": "7"})

    assert (response["model_name"], response["id"]) == ("counter", "7")
    tensors = {tensor["name"]: tensor for tensor in response["outputs"]}
    assert [(t["name"], t["datatype"]) for t in output_types(SYSTEM.heads)] == [
        (name, tensor["datatype"]) for name, tensor in tensors.items()
    ]
    assert tensors["length.label"]["data"] == ["short", "short"]
    assert tensors["length.in_scope"]["data"] == [True, True]
    assert all(tensor["shape"] == [2] for tensor in tensors.values())
    slots = [json.loads(row) for row in tensors["numbers.slots"]["data"]]
    assert slots == [[{"slot": "number", "text": "1", "start": 2, "end": 3, "probability": 0.75}], []]


def test_tasks_and_outputs_can_be_chosen() -> None:
    chosen = {**body(), "parameters": {"tasks": "length"}, "outputs": [{"name": "length.label"}]}

    assert [tensor["name"] for tensor in answer(chosen)["outputs"]] == ["length.label"]


@pytest.mark.parametrize("data", [["a 1", "b"], [["a 1"], ["b"]]])
def test_a_column_of_texts_may_be_nested_or_flat(data: list[Any]) -> None:
    assert answer(body(shape=[2, 1], data=data))["outputs"] == answer(body())["outputs"]


def test_texts_may_come_as_binary_data() -> None:
    binary = b"".join(struct.pack("<I", len(raw)) + raw for raw in (b"a 1", "ü".encode()))
    tensor = {"name": "text", "datatype": "BYTES", "shape": [2], "parameters": {"binary_data_size": len(binary)}}

    assert answer({"inputs": [tensor]}, binary=binary)["outputs"] == answer(body())["outputs"]


@pytest.mark.parametrize("binary", [b"\x05\0\0\0abc", b"\x01\0", b"\x01\0\0\0\xff"])
def test_binary_data_that_cannot_be_read_is_a_fault(binary: bytes) -> None:
    tensor = {"name": "text", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": len(binary)}}

    assert "text 0 cannot be read" in fault_of({"inputs": [tensor]}, binary=binary)


def test_no_text_gives_empty_tensors() -> None:
    assert [tensor["shape"] for tensor in answer(body(shape=[0], data=[]))["outputs"]] == [[0]] * 4


@pytest.mark.parametrize(
    ("request_body", "fault"),
    [
        ([], "the body: found an array of 0"),
        ({}, "inputs: found null; allowed is one tensor"),
        ({"inputs": []}, "inputs: found an array of 0"),
        ({"inputs": [3]}, "inputs: found an array of 1"),
        (body(name="words"), "inputs[0].name: found 'words'"),
        (body(datatype="FP32"), "inputs[0].datatype: found 'FP32'"),
        (body(shape=None), "inputs[0].shape: found null; allowed is [n] or [n, 1]"),
        (body(shape=[1, 2]), "inputs[0].shape: found [1, 2]; allowed is [n] or [n, 1]"),
        (body(shape=[-2]), "inputs[0].shape: found an array of 1"),
        (body(shape=[True]), "inputs[0].shape: found an array of 1"),
        (body(shape=[1]), "inputs[0].data: found 2 elements; allowed are the 1 that 'shape' says"),
        (body(shape=[4]), "inputs[0].shape: found 4 texts; allowed are 3"),
        (body(data="ab"), "inputs[0].data: found a string of 2 characters; allowed is an array of 2 strings"),
        (body(data=["a", 1]), "inputs[0].data[1]: found a number; allowed is a string"),
        (body(data=["a", "b" * 21]), "inputs[0].data[1]: found 21 characters"),
        ({**body(), "parameters": []}, "parameters: found an array of 0; allowed is an object"),
        ({**body(), "parameters": {"tasks": 3}}, "parameters.tasks: found a number"),
        ({**body(), "parameters": {"tasks": "mood"}}, "parameters.tasks[0]: found 'mood'"),
        ({**body(), "outputs": [{"name": "mood"}]}, "outputs[0].name: found 'mood'; allowed are ['length.in_scope'"),
        ({**body(), "outputs": 3}, "outputs: found a number"),
        ({**body(), "id": 7}, "id: found a number; allowed is a string"),
    ],
)
def test_a_fault_is_told_with_where_found_and_allowed(request_body: object, fault: str) -> None:
    assert fault_of(request_body).startswith(fault)
