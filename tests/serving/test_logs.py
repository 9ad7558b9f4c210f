"""The server's log as JSON lines: documented fields, an object a line, and never a text."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as stubs
from serving_double import Served, free_port, serving
from word_counter import POISON

from taskmix.serving.logs import REQUEST_LOG, JsonLines, WithoutMessages

ALWAYS = {"time", "level", "logger", "event"}
PREDICT, INFER = "/v1/models/counter:predict", "/v2/models/counter/infer"


@pytest.fixture(scope="module")
def documented(project_root: Path) -> set[str]:
    """The fields that the documentation lists."""
    section = (project_root / "docs/serving.md").read_text().partition("### Logs")[2].partition("\n## ")[0]
    return set(re.findall(r"^\| `(\w+)` \|", section, flags=re.MULTILINE))


def ask_in_every_way(server: Served) -> None:
    """A request of each kind, with a text that no log may show; faults of the client and of the model too."""
    v1: list[Any] = [{"text": "confidential"}], [{"text": ["confidential"]}], [{"text": f"{POISON} confidential"}]
    assert [server.client.post(PREDICT, json={"instances": each}).status_code for each in v1] == [200, 400, 500]
    tensor = {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["confidential"]}
    assert server.client.post(INFER, json={"inputs": [tensor]}).status_code == 200
    assert server.client.post(PREDICT, content=b"confidential" * 10_000).status_code == 413
    with grpc.insecure_channel(server.grpc) as channel:
        contents = messages.InferTensorContents(bytes_contents=[b"confidential"])
        of_text = {"name": "text", "datatype": "BYTES", "shape": [1], "contents": contents}
        inputs = [messages.ModelInferRequest.InferInputTensor(**of_text)]
        stubs.GRPCInferenceServiceStub(channel).ModelInfer(
            messages.ModelInferRequest(model_name="counter", inputs=inputs), timeout=30
        )


def test_a_server_writes_an_object_a_line_with_the_documented_fields_and_no_text(
    tmp_path: Path, documented: set[str]
) -> None:
    with serving(tmp_path / "output.txt", "--json") as server:
        ask_in_every_way(server)
        assert server.client.get("/v1/models/counter").status_code == httpx.codes.OK
    written = server.output.read_text()

    events = [json.loads(line) for line in written.splitlines() if not line.startswith("curl ")]  # standard output
    assert all(isinstance(event, dict) and event.keys() >= ALWAYS for event in events)
    assert {field for event in events for field in event} == documented
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", event["time"]) for event in events)
    assert any(event["event"].startswith("serving system=counter/merged") for event in events)
    requests = [event for event in events if event["logger"] == REQUEST_LOG]
    asked = [("v1", 200), ("v1", 400), ("v1", 500), ("v2", 200), ("v1", 413), ("grpc", 200)]
    assert [(event["protocol"], event["status"]) for event in requests] == asked
    assert all(event.keys() == ALWAYS | {"protocol", "status", "ms"} and event["ms"] >= 0 for event in requests)
    (failure,) = {(event["error"], event["level"]) for event in events if "error" in event}
    assert failure == ("ValueError", "ERROR")
    assert "confidential" not in written


def record_of_a_caught_error() -> logging.LogRecord:
    try:
        raise ValueError("cannot read the text 'confidential'")
    except ValueError:
        return logging.LogRecord("uvicorn.error", logging.ERROR, "", 0, "Exception in %s\n", ("it",), sys.exc_info())


def test_a_caught_error_is_told_without_what_it_says() -> None:
    line = JsonLines().format(record_of_a_caught_error())
    record = record_of_a_caught_error()
    assert WithoutMessages().filter(record)
    text = logging.Formatter("%(message)s").format(record)

    event = json.loads(line)
    assert event["error"] == "ValueError"
    assert re.match(rf"{re.escape(__file__)}:\d+ record_of_a_caught_error", event["at"])
    assert text == f"Exception in it error=ValueError at={event['at']}"
    assert "confidential" not in line + text


@pytest.mark.parametrize("odd", ["two\nlines", "\u2028\u2029\x85 are ends of lines to some", "ü", '"}', "\x00"])
def test_an_event_is_one_line_whatever_is_in_it(odd: str) -> None:
    record = logging.LogRecord("taskmix", logging.INFO, "", 0, "labels=%s", (odd,), None)
    record.fields = {"path": Path(odd)}

    (line,) = JsonLines().format(record).splitlines()

    assert json.loads(line)["event"] == f"labels={odd}"
    assert json.loads(line)["path"] == odd


def test_a_server_that_cannot_start_says_so_as_an_event_too(tmp_path: Path) -> None:
    options = ["--port", str(free_port()), "--log-format", "json"]
    command = [sys.executable, "-m", "taskmix.serving", str(tmp_path), *options]

    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert (done.returncode, done.stdout) == (2, "")
    event = json.loads(done.stderr)
    assert (event["level"], event["event"].startswith(f"{tmp_path}: holds no bundle.json")) == ("ERROR", True)
