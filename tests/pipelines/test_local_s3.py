"""A whole run whose storage is a bucket: nothing of the graph knows the difference."""

from pathlib import Path
from typing import Any

from taskmix import storage
from taskmix.config.load import load_config
from taskmix_pipelines.local import run_locally

CONFIG = """
name: bucket
storage: {storage}
datasets:
  tickets: {{format: csv, uri: "{folder}/{{split}}.csv", text: text}}
tasks:
  urgency: {{type: classification, dataset: tickets, label: urgency}}
models:
  svm: {{kind: linear, regularization: [1.0]}}
evaluation: {{resamples: 100, latency_texts: 5}}
"""


def test_run_on_a_bucket_ends_with_a_champion_and_is_reused(swift: Any, tmp_path: Path) -> None:
    for split, rows in {"train": 30, "dev": 10, "test": 10}.items():
        lines = [f"{('thanks', 'broken')[row % 2]} {split} {row},{('low', 'high')[row % 2]}" for row in range(rows)]
        odd = ["thanks for nothing,high"] if split == "test" else []
        (tmp_path / f"{split}.csv").write_text("\n".join(["text,urgency", *lines, *odd, ""]))
    path = tmp_path / "bucket.yaml"
    path.write_text(CONFIG.format(storage=f"{swift.uri}/prefix", folder=tmp_path))
    config = load_config(path)
    first = run_locally(config, tell=lambda line: None)
    assert not any(step.reused for step in first.steps)
    champion = storage.read_json(storage.join(config.storage, "deployments", "taskmix", "champion.json"))
    assert champion["system"] == "svm/single"
    assert b"KFP Executor" in storage.read_bytes(first.log)
    strict = load_config(path, overrides=["gate.minimum={urgency: 1.0}"])
    again = run_locally(strict, tell=lambda line: None)
    assert {step.title for step in again.steps if step.reused} == {
        "ingest tickets",
        "finetune svm [urgency]",
        "evaluate svm [urgency]",
    }
