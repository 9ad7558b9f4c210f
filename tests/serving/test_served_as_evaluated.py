"""Real texts, real systems, a real server: what is served is what was evaluated, whatever models stand behind it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest

from taskmix import storage
from taskmix.config.plan import make_plan
from taskmix.config.schema import Config
from taskmix.data.ingest import ingest, source_version
from taskmix.evaluation.evaluate import evaluate
from taskmix.modeling.system import read_system_record
from taskmix.serving.child import running_server
from taskmix.serving.smoke import compare, sample_recorded
from taskmix.training.job import finetune

DATA = Path(__file__).resolve().parents[2].parent / "shared/data/massive/en-US.jsonl"
TEXTS = 40
SYSTEMS = (
    "svm/single",
    "encoder/single",
    "encoder/merged",
    "decoder/single",
    "decoder/merged",
    "untuned/merged",
)
CONSTANT = ("untuned/merged", "decoder/single", "decoder/merged")
"""May name one intent for all: 300 texts teach a decoder little. Slots and probabilities are compared still."""


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """System to the URI of its record: trained on 300 real texts (but `untuned`), evaluated on 40."""
    if not DATA.is_file():
        pytest.skip(f"{DATA}: MASSIVE is not beside this checkout")
    root = str(tmp_path_factory.mktemp("storage"))
    size = {"layers": 1, "hidden": 32, "heads": 2, "feed_forward": 64, "vocabulary": 600}
    short = {"prompt": {"header": "{instruction}"}}  # 60 intents listed would be most of each example
    config = Config.model_validate(
        {
            "name": "real",
            "storage": root,
            "datasets": {
                "massive": {
                    "format": "massive",
                    "uri": str(DATA),
                    "limit": {"train": 300, "dev": 40, "test": TEXTS},
                }
            },
            "tasks": {
                "intent": {"type": "classification", "dataset": "massive", "label": "intent", **short},
                "slots": {"type": "slot_filling", "dataset": "massive", "annotation": "annot_utt", **short},
            },
            "models": {
                "svm": {"kind": "linear", "regularization": [1.0]},
                "untuned": {"kind": "decoder", "architecture": size, "tuning": "none", "answers": "joint"},
                "decoder": {
                    "kind": "decoder",
                    "architecture": {**size, "hidden": 64},
                    "recipe": {"epochs": 8, "learning_rate": 5e-3, "tokens_per_batch": 256, "max_tokens": 192},
                },
                "encoder": {
                    "kind": "encoder",
                    "architecture": size,
                    "recipe": {"epochs": 2, "learning_rate": 3e-3, "max_tokens": 16, "long_texts": "windows"},
                },
            },
            "systems": list(SYSTEMS),
            "evaluation": {"resamples": 100, "latency_texts": 5},
        }
    )
    plan = make_plan(config)
    data = plan.dataset_slice("massive")
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


@pytest.mark.parametrize("system", SYSTEMS)
def test_served_answers_are_the_evaluated_ones(records: Mapping[str, str], system: str) -> None:
    recorded = sample_recorded(read_system_record(records[system]).bundles, texts=TEXTS, seed=1)
    assert len(recorded) == TEXTS
    texts = [{"text": example.text} for example in recorded]

    with (
        running_server(records[system], name="real") as address,
        httpx.Client(base_url=address, trust_env=False, timeout=60) as client,
    ):
        path = "/v1/models/real:predict"
        together = client.post(path, json={"instances": texts}).json()["predictions"]
        alone = [client.post(path, json={"instances": [text]}).json()["predictions"][0] for text in texts[:20]]

    for served in (together, alone):
        for example, answers in zip(recorded, served, strict=False):
            for task, expected in example.answers.items():
                assert compare(expected, answers[task]) is None, (task, example.id)
    if system not in CONSTANT:
        assert len({row["intent"]["label"] for row in together}) > 3  # so that equal answers say something
