"""`kind: api` in a configuration: what is right, and what is told of what is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from taskmix.config.load import load_config
from taskmix.config.plan import make_plan
from taskmix.config.schema import ApiModel
from taskmix.errors import ConfigError

GOOD = """\
name: assistant
storage: runs
datasets:
  words: {format: generated}
tasks:
  intent: {type: classification, dataset: words, label: intent, instruction: "What is wanted?"}
  slots: {type: slot_filling, dataset: words, annotation: slots}
models:
  gpt:
    kind: api
    base_url: https://api.example/v1/
    model: gpt-4o
    shots: 5
    key_env: OPENAI_API_KEY
    key_secret: {name: endpoint-keys, key: openai}
    usd_per_million_tokens: {input: 2.5, output: 10}
    prices_as_of: 2024-08-06
    hardware: cpu
hardware:
  cpu: {cpus: 2}
"""


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(GOOD)
    return path


def test_api_model_loads_and_its_slice_is_what_decides_its_answers(config_file: Path) -> None:
    plan = make_plan(load_config(config_file))
    assert [system.name for system in plan.systems] == ["gpt/merged"], "task by task, groupings differ in nothing"
    slice = plan.job_slice(plan.jobs[0])
    assert isinstance(slice.model, ApiModel)
    assert slice.model.base_url == "https://api.example/v1"
    assert (slice.model.hardware, slice.model.key_secret) == (None, None)
    assert slice.tasks["intent"].instruction == "What is wanted?"
    assert type(slice).model_validate_json(slice.model_dump_json()) == slice


def test_api_model_that_answers_jointly_is_taken_in_every_grouping(config_file: Path) -> None:
    plan = make_plan(load_config(config_file, overrides=["models.gpt.answers=joint"]))
    assert [system.name for system in plan.systems] == ["gpt/single", "gpt/merged"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("models.gpt.base_url=api.example/v1", r"models\.gpt\.base_url.*must be http\(s\)://host/path"),
        ("models.gpt.base_url=https://api.example/v1?key=1", r"base_url.*without a query"),
        ("models.gpt.key_env=null", r"models\.gpt.*key_secret needs key_env"),
        ("models.gpt.shots=-1", r"models\.gpt\.shots.*at least 0"),
        ("models.gpt.usd_per_million_tokens.input=-1", r"usd_per_million_tokens\.input.*at least 0"),
        ("models.gpt.prices_as_of=lately", r"prices_as_of.*date"),
        ("models.gpt.tuning=full", r"models\.gpt\.tuning.*unknown key"),
        ("models.gpt.hardware=gpu", r"models\.gpt\.hardware.*unknown hardware 'gpu'"),
    ],
)
def test_what_cannot_be_right_is_told(config_file: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(config_file, overrides=[override])


@pytest.mark.parametrize("key", ["sk-abcdefghijklmnopqrst", "0f3a9c7d5e8b4a6f", "my key"])
def test_key_in_the_place_of_its_variables_name_is_refused_and_never_shown(config_file: Path, key: str) -> None:
    with pytest.raises(ConfigError, match=r"models\.gpt\.key_env.*(NAME of an environment variable|secret)") as told:
        load_config(config_file, overrides=[f"models.gpt.key_env={key}"])
    assert key not in str(told.value)


def test_prices_are_needed(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(GOOD.replace("    usd_per_million_tokens: {input: 2.5, output: 10}\n", ""))
    with pytest.raises(ConfigError, match=r"models\.gpt\.usd_per_million_tokens.*is missing"):
        load_config(path)
