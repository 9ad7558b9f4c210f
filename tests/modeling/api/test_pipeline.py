"""An API model through every step: bundle, evaluation, leaderboard, served answer; then again without a request."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from chat_server import Body, ChatServer

from taskmix import storage
from taskmix.config.plan import make_plan
from taskmix.config.schema import Config
from taskmix.data.ingest import ingest, source_version
from taskmix.evaluation.benchmark import benchmark
from taskmix.evaluation.evaluate import evaluate
from taskmix.evaluation.scorecard import read_scorecard
from taskmix.modeling.prompts import read_prompts
from taskmix.modeling.system import load_system
from taskmix.serving.predictor import Instance, predict
from taskmix.training.job import finetune

TEST_ROWS = 40


def recite(body: Body) -> str:
    """The first label of each task's list, and no spans; a fifth of the texts get no answer."""
    text = body["messages"][-1]["content"]
    properties = body["response_format"]["json_schema"]["schema"]["properties"]
    if len(text) % 5 == 0:
        return "sorry"
    return json.dumps({task: spec["enum"][0] if "enum" in spec else [] for task, spec in properties.items()})


@pytest.fixture
def config(server: ChatServer, tmp_path: Path) -> Config:
    server.write = recite
    api = {
        "kind": "api",
        "base_url": server.url,
        "model": "gpt-test",
        "shots": 2,
        "answers": "joint",
        "key_env": "TASKMIX_TEST_KEY",
        "usd_per_million_tokens": {"input": 100.0, "output": 100.0},
        "spending_limit_usd": 50.0,
    }
    content: dict[str, Any] = {
        "name": "asked",
        "storage": str(tmp_path / "runs"),
        "datasets": {"words": {"format": "generated", "train": 60, "dev": 20, "test": TEST_ROWS}},
        "tasks": {
            "intent": {"type": "classification", "dataset": "words", "label": "intent"},
            "slots": {"type": "slot_filling", "dataset": "words", "annotation": "slots"},
        },
        "groupings": {"merged": "all"},
        "models": {"gpt": api},
        "evaluation": {"resamples": 100, "latency_texts": 5},
    }
    return Config.model_validate(content)


def test_api_model_goes_through_every_step_and_pays_once(server: ChatServer, config: Config) -> None:
    plan = make_plan(config)
    (job,) = plan.jobs
    slice = plan.dataset_slice("words")
    dataset = ingest(slice, storage=config.storage, version=source_version(slice))
    trained = finetune(plan.job_slice(job), datasets=[dataset], storage=config.storage)
    bundle = storage.join(trained, "bundle")
    assert not server.requests, "preparing asks nothing"
    with storage.local_copy(bundle) as folder:
        assert [len(prompt.shots) for prompt in read_prompts(folder).prompts] == [2]
        everything = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    assert server.key.encode() not in everything

    evaluation = evaluate(trained, slice=plan.evaluation_slice(), datasets=[dataset])
    card = read_scorecard(evaluation)
    asked = len(server.requests)
    assert card.spending is not None
    assert asked == card.spending.requests <= TEST_ROWS, "texts that stand twice are asked once"
    assert card.spending.usd == pytest.approx((card.spending.input_tokens + card.spending.output_tokens) * 100 / 1e6)
    intent = card.tasks["intent"].scores
    assert 0 < (intent["invalid_rate"].value or 0) < 0.5
    assert card.tasks["slots"].scores["invalid_rate"].value == intent["invalid_rate"].value
    assert intent["ece"].value is not None
    assert card.speed["words"].p50_ms > 0

    report = benchmark(config, run="run-1", evaluations=[evaluation])
    (row,) = storage.read_json(storage.join(report, "report.json"))["systems"]
    usd_per_text = card.speed["words"].usd_per_text
    assert usd_per_text is not None
    assert row["usd_per_million_texts"] == pytest.approx(1e6 * usd_per_text)

    system = load_system(trained)
    text = next(iter(json.loads(line)["text"] for line in [json.dumps({"text": "wake me at nine o'clock"})]))
    ((served),) = predict(system, [Instance(text, ("intent", "slots"))])
    assert set(served) == {"intent", "slots"}
    assert len(server.requests) == asked + 1

    slower = plan.evaluation_slice()
    again = slower.model_copy(update={"evaluation": slower.evaluation.model_copy(update={"ece_bins": 7})})
    anew = read_scorecard(evaluate(trained, slice=again, datasets=[dataset]))
    assert len(server.requests) == asked + 1, "another way to measure asks nothing again"
    assert anew.spending == card.spending
    assert anew.speed == card.speed, "times are those of the answers, whenever they were paid for"
