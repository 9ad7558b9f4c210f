"""The Open Inference Protocol over gRPC: the same answers as over REST, and the client's faults as its own."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as stubs
from serving_double import Served
from word_counter import POISON, SLOW, SLOW_S


@pytest.fixture(scope="module")
def stub(served: Served) -> Iterator[Any]:
    with grpc.insecure_channel(served.grpc) as channel:
        yield stubs.GRPCInferenceServiceStub(channel)


def request(*texts: bytes, name: str = "counter", shape: int | None = None, **parameters: Any) -> Any:
    tensor = messages.ModelInferRequest.InferInputTensor(
        name="text",
        datatype="BYTES",
        shape=[len(texts) if shape is None else shape],
        contents=messages.InferTensorContents(bytes_contents=texts),
    )
    typed = {
        key: messages.InferParameter(**{"string_param" if isinstance(value, str) else "int64_param": value})
        for key, value in parameters.items()
    }
    return messages.ModelInferRequest(model_name=name, id="7", inputs=[tensor], parameters=typed)


def outputs(response: Any) -> dict[str, Any]:
    fields = ("bytes_contents", "fp64_contents", "bool_contents")
    return {
        output.name: [element for field in fields for element in getattr(output.contents, field)]
        for output in response.outputs
    }


def test_texts_are_answered_as_over_rest(stub: Any, served: Served) -> None:
    tensor = {"name": "text", "datatype": "BYTES", "shape": [2], "data": ["wake me at 9", "ü"]}
    over_rest = served.client.post("/v2/models/counter/infer", json={"id": "7", "inputs": [tensor]}).json()

    response = stub.ModelInfer(request(b"wake me at 9", "ü".encode()))

    assert (response.id, response.model_name) == ("7", "counter")
    told = {name: [e.decode() if isinstance(e, bytes) else e for e in data] for name, data in outputs(response).items()}
    assert told == {output["name"]: output["data"] for output in over_rest["outputs"]}


def test_raw_contents_are_read_too(stub: Any) -> None:
    asked = request(b"wake me at 9")
    asked.inputs[0].ClearField("contents")
    asked.raw_input_contents.append(len(b"at 9").to_bytes(4, "little") + b"at 9")

    answer = outputs(stub.ModelInfer(asked))

    assert json.loads(answer["numbers.slots"][0])[0]["text"] == "9"


def test_tasks_and_the_most_probable_labels_can_be_asked(stub: Any) -> None:
    answer = outputs(stub.ModelInfer(request(b"one two", tasks="length", top_k=1)))

    assert list(answer) == ["length.label", "length.probability", "length.in_scope", "length.top"]
    assert json.loads(answer["length.top"][0]) == [{"label": "short", "probability": 0.75}]


@pytest.mark.parametrize(
    ("asked", "code", "told"),
    [
        (request(b"a", name="other"), grpc.StatusCode.NOT_FOUND, "model: found 'other'; allowed is 'counter'"),
        (request(b"caf\xe9"), grpc.StatusCode.INVALID_ARGUMENT, "found no UTF-8 (byte 3)"),
        (request(b"a", tasks="mood"), grpc.StatusCode.INVALID_ARGUMENT, "parameters.tasks[0]: found 'mood'"),
        (request(b"a", shape=2), grpc.StatusCode.INVALID_ARGUMENT, "found 1 elements; allowed are the 2"),
        (request(b"a" * 1001), grpc.StatusCode.INVALID_ARGUMENT, "found 1001 characters; allowed are 1000"),
        (request(b"a" * 70_000), grpc.StatusCode.RESOURCE_EXHAUSTED, "larger than max"),
        (request(POISON.encode()), grpc.StatusCode.INTERNAL, "instances[0]: the model failed on it"),
        (messages.ModelInferRequest(model_name="counter"), grpc.StatusCode.INVALID_ARGUMENT, "inputs: found"),
    ],
)
def test_a_fault_is_told_with_what_is_allowed(stub: Any, asked: Any, code: grpc.StatusCode, told: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        stub.ModelInfer(asked)

    assert caught.value.code() == code
    assert told in caught.value.details()


def test_calls_for_a_model_that_is_not_there_are_refused_and_those_for_answers_counted(
    stub: Any, served: Served
) -> None:
    def counted() -> float:
        lines = served.client.get("/metrics").text.splitlines()
        told = [line for line in lines if line.startswith('taskmix_requests_total{protocol="grpc",status="404"}')]
        return float(told[0].split()[1]) if told else 0.0

    before = counted()
    for call, message in (
        (stub.ModelInfer, request(b"a", name="other")),
        (stub.ModelReady, messages.ModelReadyRequest(name="other")),
        (stub.ModelMetadata, messages.ModelMetadataRequest(name="other")),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            call(message)
        assert caught.value.code() == grpc.StatusCode.NOT_FOUND
        assert caught.value.details() == "model: found 'other'; allowed is 'counter'"
    assert counted() == before + 1


def test_the_model_cannot_be_unloaded(stub: Any) -> None:
    for call, message in (
        (stub.RepositoryModelUnload, messages.RepositoryModelUnloadRequest(model_name="counter")),
        (stub.RepositoryModelLoad, messages.RepositoryModelLoadRequest(model_name="counter")),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            call(message)
        assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED
    assert stub.ModelReady(messages.ModelReadyRequest(name="counter")).ready


def test_health_and_metadata_are_told(stub: Any) -> None:
    assert stub.ServerLive(messages.ServerLiveRequest()).live
    assert stub.ServerReady(messages.ServerReadyRequest()).ready
    assert stub.ServerMetadata(messages.ServerMetadataRequest()).name == "taskmix"
    metadata = stub.ModelMetadata(messages.ModelMetadataRequest(name="counter"))
    assert [(tensor.name, tensor.datatype, list(tensor.shape)) for tensor in metadata.inputs] == [
        ("text", "BYTES", [-1])
    ]
    assert [tensor.name for tensor in metadata.outputs][-1] == "numbers.slots"


def test_calls_share_a_forward_pass_with_rest(stub: Any, served: Served) -> None:
    with ThreadPoolExecutor(8) as pool:
        started = time.monotonic()
        calls = [pool.submit(stub.ModelInfer, request(SLOW.encode())) for _ in range(4)]
        body = {"instances": [{"text": SLOW}]}
        posts = [pool.submit(served.client.post, "/v1/models/counter:predict", json=body) for _ in range(4)]
        assert all(post.result().status_code == 200 for post in posts)
        assert all(len(outputs(call.result())) == 4 for call in calls)

    assert time.monotonic() - started < 4 * SLOW_S  # one by one they would take 8
