"""Real systems, a real server: what is served, and what `taskmix predict` says, is what was evaluated."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from taskmix import storage
from taskmix.config.plan import make_plan
from taskmix.config.schema import Config
from taskmix.data.ingest import ingest, source_version
from taskmix.evaluation.evaluate import evaluate
from taskmix.modeling.system import read_system_record
from taskmix.serving.child import running_server
from taskmix.serving.smoke import Recorded, compare, sample_recorded
from taskmix.training.job import finetune

DATA = Path(__file__).resolve().parents[2].parent / "shared/data/massive/en-US.jsonl"
TEXTS = 40
SIZE = {"layers": 1, "hidden": 32, "heads": 2, "feed_forward": 64, "vocabulary": 600}
REAL = ("svm/single", "encoder/single", "encoder/merged", "untuned/merged")
"""Systems on MASSIVE's texts."""
TUNED = ("decoder/single", "decoder/merged")
"""Tuned decoders, on generated texts: 300 of MASSIVE teach a decoder that starts from nothing one answer for all."""


def evaluated(root: str, *, systems: Sequence[str], **fields: Any) -> Mapping[str, str]:
    """System to the URI of its record: trained and evaluated as the pipeline does, on the one dataset of `fields`."""
    evaluation = {"resamples": 100, "latency_texts": 5}
    config = {"name": "real", "storage": root, "systems": list(systems), "evaluation": evaluation, **fields}
    plan = make_plan(Config.model_validate(config))
    (name,) = plan.config.datasets
    data = plan.dataset_slice(name)
    dataset = ingest(data, storage=root, version=source_version(data))
    jobs = {job: finetune(plan.job_slice(job), datasets=[dataset], storage=root) for job in plan.jobs}
    found = {}
    for system in plan.systems:
        bundles = [
            {
                "uri": storage.join(jobs[job], "bundle"),
                "tasks": list(job.tasks),
                "evaluation": evaluate(jobs[job], slice=plan.evaluation_slice(), datasets=[dataset]),
            }
            for job in system.jobs
        ]
        found[system.name] = storage.join(root, f"{system.model}.{system.grouping}.json")
        storage.write_json(found[system.name], {"name": system.name, "bundles": bundles})
    return found


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """`REAL`, of 300 texts (but `untuned`), evaluated on 40."""
    if not DATA.is_file():
        pytest.skip(f"{DATA}: MASSIVE is not beside this checkout")
    limit = {"train": 300, "dev": 40, "test": TEXTS}
    recipe = {"epochs": 2, "learning_rate": 3e-3, "max_tokens": 16, "long_texts": "windows"}
    short = {"prompt": {"header": "{instruction}"}}  # 60 intents listed would be most of each prompt
    return evaluated(
        str(tmp_path_factory.mktemp("real")),
        systems=REAL,
        datasets={"massive": {"format": "massive", "uri": str(DATA), "limit": limit}},
        tasks={
            "label": {"type": "classification", "dataset": "massive", "label": "intent", **short},
            "slots": {"type": "slot_filling", "dataset": "massive", "annotation": "annot_utt", **short},
        },
        models={
            "svm": {"kind": "linear", "regularization": [1.0]},
            "untuned": {"kind": "decoder", "architecture": SIZE, "tuning": "none", "answers": "joint"},
            "encoder": {"kind": "encoder", "architecture": SIZE, "recipe": recipe},
        },
    )


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """`TUNED`, of 400 texts, evaluated on 40."""
    recipe = {"epochs": 4, "learning_rate": 5e-3, "tokens_per_batch": 512, "max_tokens": 96, "precision": "fp32"}
    size = {**SIZE, "layers": 2, "hidden": 64, "heads": 4, "feed_forward": 128}
    prompts = {name: {"prompt": {"header": "", "question": f"{{text}}\n{name}:"}} for name in ("label", "slots")}
    return evaluated(
        str(tmp_path_factory.mktemp("tuned")),
        systems=TUNED,
        datasets={"words": {"format": "generated", "train": 400, "dev": 20, "test": TEXTS}},
        tasks={
            "label": {"type": "classification", "dataset": "words", "label": "topic", **prompts["label"]},
            "slots": {"type": "slot_filling", "dataset": "words", "annotation": "slots", **prompts["slots"]},
        },
        models={"decoder": {"kind": "decoder", "architecture": size, "recipe": recipe}},
    )


def recorded(record: str) -> list[Recorded]:
    """What evaluation said of every test text, which differs from text to text: so equal answers prove something."""
    found = sample_recorded(read_system_record(record).bundles, texts=TEXTS, seed=1)
    assert len(found) == TEXTS
    if "untuned" not in record:  # random weights name one label for all; their spans and probabilities differ
        assert len({example.answers["label"]["label"] for example in found}) > 3
    assert len({json.dumps(example.answers["slots"]) for example in found}) > 3
    return found


def assert_same(found: Sequence[Mapping[str, Any]], expected: Sequence[Recorded]) -> None:
    for example, answers in zip(expected, found, strict=True):
        for task, answer in example.answers.items():
            assert compare(answer, answers[task]) is None, (task, example.id)


@pytest.mark.parametrize(
    ("fixture", "system"), [*(("real", name) for name in REAL), *(("tuned", name) for name in TUNED)]
)
def test_served_answers_are_the_evaluated_ones(fixture: str, system: str, request: pytest.FixtureRequest) -> None:
    record = request.getfixturevalue(fixture)[system]
    expected = recorded(record)
    texts = [{"text": example.text} for example in expected]
    with (
        running_server(record, name="real") as address,
        httpx.Client(base_url=address, trust_env=False, timeout=60) as client,
    ):
        path = "/v1/models/real:predict"
        together = client.post(path, json={"instances": texts}).json()["predictions"]
        alone = [client.post(path, json={"instances": [text]}).json()["predictions"][0] for text in texts[:20]]
    assert_same(together, expected)
    assert_same(alone, expected[:20])


def test_a_tuned_decoders_bundle_predicts_as_it_was_evaluated(tuned: Mapping[str, str]) -> None:
    """`taskmix predict` on the bundle itself, as a user runs it."""
    expected = recorded(tuned["decoder/merged"])
    (bundle,) = read_system_record(tuned["decoder/merged"]).bundles
    command = [str(Path(sys.executable).with_name("taskmix")), "predict", bundle.uri]
    lines = "".join(f"{json.dumps({'text': example.text})}\n" for example in expected)
    done = subprocess.run(command, input=lines, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert_same([json.loads(line) for line in done.stdout.splitlines()], expected)
