"""The real KServe server, asked over HTTP as a user does; `conftest` starts it around a tiny model."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serving_double import Served, free_port
from word_counter import LIMITS, MAX_WAITING, POISON, SLOW, SLOW_S, WordCounter, counter_system

from taskmix.errors import ServingError

PREDICT, INFER = "/v1/models/counter:predict", "/v2/models/counter/infer"
TEXT = {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["a 1"]}


def ask(served: Served, *texts: str) -> httpx.Response:
    return served.client.post(PREDICT, json={"instances": [{"text": text} for text in texts]})


def test_a_text_is_answered_as_the_design_says(served: Served) -> None:
    body = {"instances": [{"text": "wake me at 9"}, {"text": "ü 10", "tasks": ["numbers"]}]}

    response = served.client.post(PREDICT, json=body)

    assert response.status_code == 200
    assert response.json() == {
        "predictions": [
            {
                "length": {"label": "short", "probability": 0.5, "in_scope": False},
                "numbers": [{"slot": "number", "text": "9", "start": 11, "end": 12, "probability": 0.75}],
            },
            {"numbers": [{"slot": "number", "text": "10", "start": 2, "end": 4, "probability": 0.75}]},
        ]
    }


@pytest.mark.parametrize(
    "content_type", ["application/json", "application/json; charset=utf-8", "application/json;charset=UTF-8", None]
)
def test_json_is_understood_whatever_its_content_type(served: Served, content_type: str | None) -> None:
    headers = {} if content_type is None else {"content-type": content_type}

    response = served.client.post(PREDICT, content=b'{"instances": [{"text": "a"}]}', headers=headers)

    assert response.status_code == 200


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "the body: found no JSON in UTF-8"),
        (b"{", "the body: found no JSON in UTF-8"),
        (b'{"instances": [{"text": "caf\xe9"}]}', "the body: found no JSON in UTF-8"),
        (b'{"instances": [{"text": "\\ud800"}]}', "the body: found no JSON in UTF-8"),
        (b"[" * 20_000, "the body: found no JSON in UTF-8"),
        (b"[]", "the body: found an array of 0"),
        (b"{}", "instances: is missing"),
        (b'{"instances": [{"text": "a"}, {"text": 7}]}', "instances[1].text: found a number; allowed is a string"),
        (b'{"instances": [{"text": "a", "tasks": ["mood"]}]}', "instances[0].tasks[0]: found 'mood'"),
        (
            b'{"instances": [{"text": "' + b"a" * 1001 + b'"}]}',
            "instances[0].text: found 1001 characters; allowed are 1000",
        ),
    ],
)
def test_bad_input_gets_a_400_that_says_what_and_where(served: Served, body: bytes, told: str) -> None:
    response = served.client.post(PREDICT, content=body)

    assert response.status_code == 400
    assert response.json()["error"].startswith(told)
    assert response.json()["faults"][0].startswith(told)


def test_too_many_instances_get_a_413(served: Served) -> None:
    response = ask(served, *["a"] * 9)

    assert response.status_code == 413
    assert response.json()["error"] == "instances: found 9 instances; allowed are 8: send several requests"


@pytest.mark.parametrize("path", [PREDICT, INFER])
@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("size", [LIMITS["max_body_bytes"] + 1, 4_000_000])
def test_a_body_too_large_gets_a_413(served: Served, path: str, chunked: bool, size: int) -> None:
    content = iter([b" " * 1000] * (size // 1000 + 1)) if chunked else b" " * size

    response = served.client.post(path, content=content)

    assert response.status_code == 413
    assert "allowed are 65536" in response.json()["error"]
    assert ask(served, "a").status_code == 200


def test_a_failure_of_the_model_is_told_without_the_text_and_hurts_no_neighbour(served: Served) -> None:
    with ThreadPoolExecutor(6) as pool:
        slow = pool.submit(ask, served, SLOW)  # the others queue behind it and share a batch
        time.sleep(SLOW_S / 3)
        good = [pool.submit(ask, served, f"a {index}") for index in range(4)]
        bad = pool.submit(ask, served, "fine", f"{POISON} secret")
        assert slow.result().status_code == 200
        assert [future.result().status_code for future in good] == [200] * 4

    assert bad.result().status_code == 500
    assert bad.result().json()["error"].startswith("instances[1]: the model failed on it")
    assert "secret" not in bad.result().text


def test_requests_at_the_same_time_share_a_forward_pass(served: Served) -> None:
    with ThreadPoolExecutor(12) as pool:
        started = time.monotonic()
        responses = list(pool.map(lambda _: ask(served, SLOW), range(12)))
        seconds = time.monotonic() - started

    assert [response.status_code for response in responses] == [200] * 12
    assert seconds < 6 * SLOW_S  # one by one they would take 12


def test_an_overloaded_server_refuses_with_503_and_says_when_to_ask_again(served: Served) -> None:
    with ThreadPoolExecutor(4) as pool:
        slow = pool.submit(ask, served, SLOW)
        time.sleep(SLOW_S / 3)
        waiting = [pool.submit(ask, served, *["a"] * 8) for _ in range(MAX_WAITING // 8)]
        time.sleep(SLOW_S / 6)
        refused = ask(served, "one more")
        assert all(future.result().status_code == 200 for future in (slow, *waiting))

    assert refused.status_code == 503
    assert refused.headers["retry-after"] == "1"
    assert refused.json()["error"].startswith("16 texts of 16 characters wait for an answer, the server lets 16")
    assert ask(served, "one more").status_code == 200


def test_health_is_answered_while_the_model_works(served: Served) -> None:
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(ask, served, SLOW)
        time.sleep(SLOW_S / 6)
        started = time.monotonic()
        ready = served.client.get("/v2/models/counter/ready")
        seconds = time.monotonic() - started
        assert not slow.done()

    assert ready.json() == {"name": "counter", "ready": True}
    assert seconds < SLOW_S / 2


def test_the_model_tells_its_name_readiness_tasks_and_bundles(served: Served) -> None:
    about = served.client.get("/v1/models/counter").json()

    assert (about["name"], about["ready"], about["system"]) == ("counter", True, "counter/merged")
    assert about["tasks"]["length"] == {"type": "classification", "labels": ["short", "long"]}
    assert about["bundles"] == [{"manifest": "0" * 64, "tasks": ["length", "numbers"], "backend": "numpy"}]


@pytest.mark.parametrize(
    ("path", "key", "value"),
    [
        ("/", "live", True),
        ("/v2/health/live", "live", True),
        ("/v2/health/ready", "ready", True),
        ("/v1/models", "models", ["counter"]),
        ("/v2/models", "models", ["counter"]),
        ("/v2", "name", "taskmix"),
        ("/v2/models/counter", "inputs", [{"name": "text", "datatype": "BYTES", "shape": [-1]}]),
    ],
)
def test_what_is_served_can_be_read(served: Served, path: str, key: str, value: object) -> None:
    response = served.client.get(path)

    assert response.status_code == 200
    assert response.json()[key] == value


def test_metrics_count_the_predictions(served: Served) -> None:
    assert ask(served, "a").status_code == 200

    counts = [
        line for line in served.client.get("/metrics").text.splitlines() if "request_predict_seconds_count" in line
    ]

    assert len(counts) == 1
    assert counts[0].startswith('request_predict_seconds_count{model_name="counter"}')


def figures(served: Served) -> dict[str, float]:
    """Every figure of `/metrics` by its name and labels."""
    lines = [line for line in served.client.get("/metrics").text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def test_metrics_tell_requests_batches_labels_and_rejections(served: Served) -> None:
    before = figures(served)
    assert ask(served, "a", "one two three four five six 7").status_code == 200
    assert served.client.post(PREDICT, content=b"{").status_code == 400
    after = figures(served)

    grown = {name: value - before.get(name, 0) for name, value in after.items() if value != before.get(name)}

    assert grown['taskmix_requests_total{protocol="v1",status="200"}'] == 1
    assert grown['taskmix_requests_total{protocol="v1",status="400"}'] == 1
    assert grown['taskmix_request_seconds_count{protocol="v1"}'] == 2
    assert grown["taskmix_batch_texts_count"] == 1
    assert grown["taskmix_batch_texts_sum"] == 2
    assert grown['taskmix_answers_total{label="short",task="length"}'] == 1
    assert grown['taskmix_answers_total{label="long",task="length"}'] == 1
    assert grown['taskmix_answers_total{label="number",task="numbers"}'] == 1
    assert grown['taskmix_texts_total{task="length"}'] == 2
    assert "taskmix_out_of_scope_total" not in "".join(grown)  # both were sure
    assert after["taskmix_queue_texts"] == 0


def test_the_most_probable_labels_are_told_on_request(served: Served) -> None:
    body = {"instances": [{"text": "one two", "top_k": 5}, {"text": "one two", "top_k": 1}, {"text": "one two"}]}

    first, second, third = (row["length"] for row in served.client.post(PREDICT, json=body).json()["predictions"])

    assert first["top"] == [{"label": "short", "probability": 0.75}, {"label": "long", "probability": 0.25}]
    assert second["top"] == first["top"][:1]
    assert "top" not in third


def test_the_most_probable_labels_are_a_tensor_over_v2(served: Served) -> None:
    response = served.client.post(INFER, json={"inputs": [TEXT], "parameters": {"top_k": 1}}).json()

    outputs = {output["name"]: output["data"] for output in response["outputs"]}
    assert json.loads(outputs["length.top"][0]) == [{"label": "short", "probability": 0.75}]
    assert list(outputs) == ["length.label", "length.probability", "length.in_scope", "length.top", "numbers.slots"]


@pytest.mark.parametrize("top_k", [0, -1, 1.5, True, "2", []])
def test_what_is_no_number_of_labels_is_refused(served: Served, top_k: object) -> None:
    response = served.client.post(PREDICT, json={"instances": [{"text": "a", "top_k": top_k}]})
    over_v2 = served.client.post(INFER, json={"inputs": [TEXT], "parameters": {"top_k": top_k}})

    assert response.status_code == over_v2.status_code == 400
    assert response.json()["error"].startswith("instances[0].top_k: found")
    assert over_v2.json()["error"].startswith("parameters.top_k: found")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/models/other"),
        ("POST", "/v1/models/other:predict"),
        ("GET", "/v2/models/other"),
        ("GET", "/v2/models/other/ready"),
        ("POST", "/v2/models/other/infer"),
        ("GET", "/v1/models/" + "x" * 5000),
    ],
)
def test_another_model_is_not_found_and_the_one_there_is_told(served: Served, method: str, path: str) -> None:
    response = served.client.request(method, path, json={"instances": []})

    assert response.status_code == 404
    assert "allowed is 'counter'" in response.json()["error"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v2/repository/models/counter/unload"),
        ("POST", "/v2/repository/models/counter/load"),
        ("POST", "/v2/repository/index"),
        ("POST", "/v1/models/counter:explain"),
        ("POST", "/v2/models/counter/versions/1/infer"),
        ("GET", "/v2/models/counter/versions/1/ready"),
        ("DELETE", "/v1/models/counter"),
        ("POST", "/openai/v1/completions"),
    ],
)
def test_what_could_change_the_model_is_closed(served: Served, method: str, path: str) -> None:
    assert served.client.request(method, path, json={}).status_code in (404, 405)
    assert ask(served, "a").status_code == 200


def test_the_api_description_lists_what_is_open(served: Served) -> None:
    paths = set(served.client.get("/openapi.json").json()["paths"])

    assert {"/v1/models/{name}:predict", "/v2/models/{name}/infer", "/v2/models/{name}/ready"} <= paths
    assert not [path for path in paths if "repository" in path or "explain" in path or "versions" in path]


def test_kserves_own_client_is_answered_over_v2(served: Served) -> None:
    import kserve

    async def infer() -> Any:
        config = kserve.RESTConfig(protocol="v2", timeout=30)
        client = kserve.InferenceRESTClient(config)
        tensor = kserve.InferInput("text", [2], "BYTES")
        tensor.set_data_from_numpy(np.array(["wake me at 9", "ü"], dtype=np.object_))  # as binary data
        request = kserve.InferRequest(model_name="counter", infer_inputs=[tensor], request_id="7")
        assert await client.is_model_ready(served.address, "counter")
        response = await client.infer(served.address, request, model_name="counter")
        await client.close()
        return response

    response = asyncio.run(infer())

    outputs = {output.name: output.data for output in response.outputs}
    assert response.id == "7"
    assert outputs["length.label"] == ["short", "short"]
    assert json.loads(outputs["numbers.slots"][0])[0]["text"] == "9"


@pytest.mark.parametrize("length", ["x", "-1", "9999999999999", "1000", "²"])
def test_a_wrong_length_of_the_json_is_the_clients_fault(served: Served, length: str) -> None:
    headers = {"inference-header-content-length": length.encode()}

    response = served.client.post(INFER, content=json.dumps({"inputs": [TEXT]}).encode(), headers=headers)

    assert response.status_code == 400
    assert response.json()["error"].startswith("inference-header-content-length: found")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.sampled_from(["text", "tasks"]), inner),
    max_leaves=8,
)
INSTANCES = st.fixed_dictionaries({"text": st.text() | JSON}, optional={"tasks": st.lists(st.just("length")) | JSON})
TENSORS = st.fixed_dictionaries(
    {
        "name": st.just("text") | JSON,
        "datatype": st.just("BYTES") | JSON,
        "shape": st.lists(st.integers(-1, 9), max_size=3) | JSON,
        "data": st.lists(st.text() | JSON, max_size=3) | JSON,
    },
    optional={"parameters": JSON | st.fixed_dictionaries({"binary_data_size": st.integers(-1, 20)})},
)


@settings(
    max_examples=300, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    path=st.sampled_from([PREDICT, INFER]),
    body=st.fixed_dictionaries({"instances": st.lists(INSTANCES, max_size=3) | JSON})
    | st.fixed_dictionaries({"inputs": st.lists(TENSORS, max_size=2)}, optional={"parameters": JSON, "outputs": JSON})
    | JSON,
    header=st.none() | st.integers(-5, 200).map(str),
)
def test_no_input_makes_the_server_fail(served: Served, path: str, body: Any, header: str | None) -> None:
    headers = {} if header is None else {"inference-header-content-length": header}

    response = served.client.post(path, json=body, headers=headers)

    assert response.status_code in (200, 400, 413)
    assert ("error" in response.json()) == (response.status_code != 200)


def test_no_text_reaches_the_log(served: Served) -> None:
    ask(served, "confidential")
    served.client.post(PREDICT, json={"instances": [{"text": ["confidential"], "confidential": 1}]})
    ask(served, f"{POISON} confidential")

    output = served.output.read_text()

    assert "prediction failed error=ValueError" in output
    assert "confidential" not in output
    assert "serving system=counter/merged name=counter host=127.0.0.1" in output


def test_a_curl_line_to_try_is_printed_and_works(served: Served) -> None:
    (line,) = [line for line in served.output.read_text().splitlines() if line.startswith("curl ")]

    result = subprocess.run(["bash", "-c", f"{line} --silent"], capture_output=True, text=True, timeout=30, check=True)

    assert list(json.loads(result.stdout)["predictions"][0]) == ["length", "numbers"]


def test_a_request_in_flight_is_answered_when_the_server_is_told_to_stop(own_server: Served) -> None:
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(ask, own_server, SLOW)
        time.sleep(SLOW_S / 3)
        own_server.process.send_signal(signal.SIGTERM)
        assert slow.result().status_code == 200

    assert own_server.process.wait(20) == 0


def test_a_taken_port_and_a_bad_name_are_told_before_anything_is_loaded(served: Served) -> None:
    from taskmix.serving.server import serve

    port = int(served.address.rpartition(":")[2])

    with pytest.raises(ServingError, match=f"port {port} of 127.0.0.1: cannot be listened on: Address already in use"):
        serve("/no/such/system", name="counter", port=port)
    with pytest.raises(ServingError, match="--name 'a/b': cannot stand in a URL"):
        serve("/no/such/system", name="a/b", port=port)
    with pytest.raises(ServingError, match="--port 70000: is no port; allowed is 1 to 65535"):
        serve("/no/such/system", name="counter", port=70000)


def test_what_is_no_system_is_told_in_one_paragraph(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "taskmix.serving", str(tmp_path), "--port", str(free_port())]

    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert result.returncode == 2
    assert result.stderr.startswith(f"{tmp_path}: holds no bundle.json")
    assert "Traceback" not in result.stderr


def test_a_model_is_ready_only_after_a_warm_up_prediction() -> None:
    from taskmix.serving.server import ServedSystem

    model = WordCounter()
    served = ServedSystem(counter_system(model), name="counter")
    assert not asyncio.run(served.healthy())

    served.load()
    assert asyncio.run(served.healthy())
    assert model.calls == [1]

    served.stop()
    assert not asyncio.run(served.healthy())


def test_an_overloaded_server_says_when_to_ask_again() -> None:
    from fastapi import FastAPI
    from fastapi.testclient import TestClient

    from taskmix.serving.batching import Bounds
    from taskmix.serving.endpoints import add_endpoints
    from taskmix.serving.predictor import Limits
    from taskmix.serving.server import ServedSystem

    served = ServedSystem(counter_system(), name="counter", bounds=Bounds(max_waiting=1))
    served.load()
    app = FastAPI()
    add_endpoints(app, served, limits=Limits())
    with TestClient(app) as client, ThreadPoolExecutor(4) as pool:
        body = {"instances": [{"text": SLOW}]}
        responses = list(pool.map(lambda _: client.post(PREDICT, json=body), range(4)))
    served.stop()

    refused = [response for response in responses if response.status_code == 503]
    assert {response.status_code for response in responses} == {200, 503}
    assert refused[0].headers["retry-after"] == "1"
    assert "ask again later" in refused[0].json()["error"]
