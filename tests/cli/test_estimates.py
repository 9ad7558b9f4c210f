"""GPU hours and USD of a plan, against numbers reckoned by hand."""

from __future__ import annotations

from typing import Any

import pytest

from taskmix.cli.estimates import Estimate, dataset_size, estimate_job, parameters_of
from taskmix.config.plan import make_plan
from taskmix.config.schema import Config, DecoderModel, MassiveDataset

HARDWARE = {"gpus": 2, "nodes": 2, "gpu_tflops": 100, "usd_per_hour": 10}


def told(model: dict[str, Any], **hardware: Any) -> Estimate | str:
    config = Config.model_validate(
        {
            "name": "priced",
            "storage": "runs",
            "datasets": {"words": {"format": "massive", "uri": "/data/en-US.jsonl", "limit": {"test": 1000}}},
            "tasks": {"intent": {"type": "classification", "dataset": "words", "label": "intent"}},
            "models": {"tried": {"hardware": "gpu", **model}},
            "hardware": {"gpu": {**HARDWARE, **hardware}},
        }
    )
    plan = make_plan(config)
    return estimate_job(plan, plan.jobs[0])


def test_tuned_decoder_by_hand() -> None:
    found = told({"kind": "decoder", "checkpoint": "org/Llama-8B", "recipe": {"epochs": 3}})
    tokens = 35 / 4 + 150 + 12
    training = 0.1 + 6 * 8e9 * tokens * 11_514 * 3 / (4 * 35e12) / 3600
    evaluation = 0.1 + 2 * 8e9 * tokens * (2_033 * 3 + 1_000) / (2 * 35e12) / 3600
    assert isinstance(found, Estimate)
    assert found.gpu_hours == pytest.approx(2 * (2 * training + evaluation))
    assert found.usd == pytest.approx(10 * (2 * training + evaluation))


def test_decoder_that_is_not_tuned_is_only_asked() -> None:
    found = told({"kind": "decoder", "checkpoint": "org/Llama-8B", "tuning": "none", "shots": 5})
    tokens = 35 / 4 + 150 + 5 * (35 / 4 + 12) + 12
    assert isinstance(found, Estimate)
    assert found.gpu_hours == pytest.approx(2 * (0.1 + 2 * 8e9 * tokens * (2_033 + 1_000) / (2 * 35e12) / 3600))


@pytest.mark.parametrize(
    ("model", "hardware", "reason"),
    [
        ({"kind": "linear"}, {}, "minutes of a CPU"),
        ({"kind": "encoder", "checkpoint": "/models/mine"}, {}, "the size of /models/mine is not in its name"),
        ({"kind": "encoder", "checkpoint": "org/roberta-base"}, {"gpu_tflops": None}, "gpu_tflops"),
    ],
)
def test_what_cannot_be_told_says_why(model: dict[str, Any], hardware: dict[str, Any], reason: str) -> None:
    found = told(model, **hardware)
    assert isinstance(found, str)
    assert reason in found


@pytest.mark.parametrize(
    ("checkpoint", "weights"),
    [
        ("meta-llama/Llama-2-70b-hf", 70e9),
        ("meta-llama/Meta-Llama-3-8B", 8e9),
        ("s3://models/qwen-1.5b", 1.5e9),
        ("s3://models/8big", None),
    ],
)
def test_size_is_read_from_the_name(checkpoint: str, weights: float | None) -> None:
    found = parameters_of(DecoderModel(kind="decoder", checkpoint=checkpoint))
    assert found == (weights and pytest.approx(weights, rel=0.02)), "published shapes tell it to the last weight"


def test_limits_bound_what_is_known_of_a_dataset() -> None:
    dataset = MassiveDataset.model_validate({"format": "massive", "uri": "x", "limit": {"train": 500}})
    assert dataset_size(dataset) == (500, 2_033, 2_974, 35)
