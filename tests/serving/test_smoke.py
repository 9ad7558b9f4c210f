"""The smoke test on real bundles, with the real server in a child process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil
import pyarrow.parquet as pq
import pytest
from tiny_bundles import TEXTS, publish_run
from web_server import Answer, running_web_server

from taskmix import storage
from taskmix.errors import ServingError
from taskmix.modeling.system import read_system_record
from taskmix.serving.child import running_server
from taskmix.serving.releases import stage
from taskmix.serving.smoke import compare, compare_served, sample_recorded, smoke_test


def stage_run(root: Path, **options) -> str:
    return stage(publish_run(str(root), run="run-1", **options), deployment="assistant")


def servers() -> list[psutil.Process]:
    """Servers that are children of this process, of whatever depth."""
    return [
        child for child in psutil.Process().children(recursive=True) if "taskmix.serving" in " ".join(child.cmdline())
    ]


@pytest.mark.parametrize("blocks", [[["intent", "slots"]], [["intent"], ["slots"]]], ids=["merged", "single"])
def test_served_answers_equal_the_evaluated_ones(tmp_path: Path, blocks: list[list[str]]) -> None:
    summary = smoke_test(stage_run(tmp_path, blocks=blocks), texts=20)

    assert (summary.texts, summary.answers, summary.too_long) == (20, 40, 0)
    assert summary.system == ("tiny/merged" if len(blocks) == 1 else "tiny/single")
    assert servers() == []


def rewrite(release: str, task: str, column: str, change) -> None:
    """Change what evaluation has recorded, in every row."""
    (bundle,) = read_system_record(release).bundles
    path = Path(bundle.evaluation, "predictions", f"{task}.parquet")
    table = pq.read_table(path)
    values = [change(value) for value in table[column].to_pylist()]
    index = table.column_names.index(column)
    changed = table.set_column(index, column, [values])
    uri = bundle.evaluation
    kept = {name: Path(uri, "predictions", name).read_bytes() for name in os.listdir(Path(uri, "predictions"))}
    storage.delete_prefix(uri)
    path.parent.mkdir(parents=True, exist_ok=True)
    for name, data in kept.items():
        (path.parent / name).write_bytes(data)
    pq.write_table(changed, path)
    storage.publish(Path(uri), uri)


def test_a_server_that_answers_otherwise_is_told_with_the_first_differences(tmp_path: Path) -> None:
    release = stage_run(tmp_path)
    rewrite(release, "intent", "predicted", lambda label: "news" if label == "alarm" else "alarm")

    with pytest.raises(ServingError, match="system 'tiny/merged' answers otherwise than it was evaluated") as caught:
        smoke_test(release, texts=20)

    assert "in 20 of 40 answers" in str(caught.value)
    assert str(caught.value).count("task 'intent': served '") == 5
    assert "... and 15 more" in str(caught.value)
    assert not any(text in str(caught.value) for text in TEXTS)
    assert servers() == []


@pytest.mark.parametrize(
    ("said", "told"), [("no healthy upstream", "no healthy upstream"), (f"cannot answer '{TEXTS[0]}'", "(withheld)")]
)
def test_what_a_server_says_is_told_unless_it_quotes_a_text(tmp_path: Path, said: str, told: str) -> None:
    release = stage_run(tmp_path)
    with running_web_server() as server, httpx.Client(base_url=server.url, trust_env=False) as client:
        server.answers = [Answer(503, said.encode())]
        with pytest.raises(ServingError, match=r":predict: answered 503 to recorded test texts: ") as caught:
            compare_served(client, name="tiny", release=release, texts=len(TEXTS))
    assert told in str(caught.value)
    assert not any(text in str(caught.value) for text in TEXTS)


def test_a_server_that_dies_is_told_with_its_last_lines(tmp_path: Path) -> None:
    release = stage_run(tmp_path)
    (bundle,) = read_system_record(release).bundles
    with Path(bundle.uri, "model.safetensors").open("ab") as file:
        file.write(b"more")

    with pytest.raises(
        ServingError, match=r"(?s)ended with exit code 2 before it was ready; its last lines:.*not what was"
    ):
        smoke_test(release)

    assert servers() == []


def test_a_server_that_is_not_ready_in_time_is_stopped(tmp_path: Path) -> None:
    release = stage_run(tmp_path)

    with pytest.raises(ServingError, match="the server was not ready after 0 s"):
        smoke_test(release, timeout_s=0.2)

    assert servers() == []


def test_a_bundle_without_evaluation_cannot_be_compared(tmp_path: Path) -> None:
    bundles = [{"uri": "somewhere", "tasks": ["intent"]}]
    storage.write_json(str(tmp_path / "system.json"), {"name": "tiny/merged", "bundles": bundles})

    with pytest.raises(ServingError, match="the system's record names no evaluation"):
        sample_recorded(read_system_record(str(tmp_path / "system.json")).bundles, texts=5, seed=1)


def test_the_sample_is_seeded_and_its_texts_are_shared_by_the_tasks(tmp_path: Path) -> None:
    bundles = read_system_record(stage_run(tmp_path, blocks=[["intent"], ["slots"]])).bundles

    first, again = (sample_recorded(bundles, texts=10, seed=1) for _ in range(2))
    other = sample_recorded(bundles, texts=10, seed=2)

    assert first == again
    assert [example.id for example in first] != [example.id for example in other]
    assert all(list(example.answers) == ["intent", "slots"] for example in first)
    assert len(sample_recorded(bundles, texts=1000, seed=1)) == len(TEXTS)


@pytest.mark.parametrize(
    ("served", "difference"),
    [
        ([{"slot": "time", "text": "nine", "start": 3, "end": 7, "probability": 0.9005}], None),
        ([], "served nothing, evaluated 'time' at 3-7"),
        (
            [{"slot": "time", "text": "nine", "start": 3, "end": 8, "probability": 0.9}],
            "served 'time' at 3-8, evaluated 'time' at 3-7",
        ),
        (
            [{"slot": "time", "text": "nine", "start": 3, "end": 7, "probability": 0.8}],
            "served probability 0.8000, evaluated 0.9000",
        ),
    ],
)
def test_answers_are_compared_in_labels_places_and_probabilities(served: list, difference: str | None) -> None:
    expected = [{"slot": "time", "start": 3, "end": 7, "probability": 0.9}]

    assert compare(expected, served) == difference


SCRIPT = """
import sys
from taskmix.serving.child import running_server
with running_server(sys.argv[1], name="smoke"):
    sys.stdin.read()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_the_server_ends_with_whoever_started_it(tmp_path: Path, number: signal.Signals) -> None:
    """While it loads: that it stops when it is ready is part of all tests above."""
    command = [sys.executable, "-c", SCRIPT, stage_run(tmp_path)]
    parent = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        deadline = time.monotonic() + 30
        while not (children := psutil.Process(parent.pid).children()):
            assert parent.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        parent.send_signal(number)
        assert parent.wait(30) != 0
        gone, alive = psutil.wait_procs(children, timeout=30)
        assert (len(gone), alive) == (1, [])
    finally:
        parent.kill()
        parent.communicate()


def test_a_server_that_stops_answering_is_told_with_its_last_lines(tmp_path: Path) -> None:
    def ask_a_killed_server() -> None:
        with running_server(stage_run(tmp_path), name="smoke") as address:
            (server,) = servers()
            server.kill()
            server.wait(10)
            httpx.get(address, trust_env=False)

    with pytest.raises(ServingError, match=r"(?s)did not answer \(ConnectError.*its last lines:.*serving system="):
        ask_a_killed_server()
