"""Whole runs on this machine: real data, real training, real server, all small; and what a second run reuses."""

import csv
import json
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from taskmix import storage
from taskmix.config.load import load_config
from taskmix_pipelines.ending import verdict
from taskmix_pipelines.local import LocalRun, run_locally

CONFIG = """
name: tiny
storage: {folder}/storage
datasets:
  utterances: {{format: generated, train: 100, dev: 20, test: 30, noise: 0.02}}
  tickets:
    {{format: csv, uri: "{folder}/lib/python3.11/{{split}}.csv", text: text, max_bad_rows: 0.1}}
tasks:
  slots: {{type: slot_filling, dataset: utterances, annotation: slots}}
  urgency: {{type: classification, dataset: tickets, label: urgency}}
models:
  svm: {{kind: linear, regularization: [1.0]}}
  mini:
    kind: encoder
    architecture: {{layers: 1, hidden: 16, heads: 2, feed_forward: 32, vocabulary: 300}}
    recipe: {{epochs: 1, learning_rate: 1.0e-3, tokens_per_batch: 512, max_tokens: 32}}
evaluation: {{resamples: 100, latency_texts: 5}}
deployment: {{name: tiny}}
report: {{texts: redact}}
"""
SECRET = "Zebrafink"
"""Stands in every ticket's text, and in a row that is no ticket."""
QUICK = ('systems=["svm/single"]', "gate.minimum={slots: 1.0}")
"""Leaves out the encoder, and the server of the smoke test, to keep later runs short."""


@dataclass(frozen=True)
class Project:
    """A configuration, its data and its storage, and the run made of it."""

    folder: Path
    config: Path

    def run(self, *overrides: str) -> LocalRun:
        """One more run."""
        return run_locally(load_config(self.config, overrides=overrides), tell=lambda line: None)


def write_tickets(folder: Path, *, seed: int) -> None:
    """Tickets whose urgency is told by their words; some of the path is text that KFP's runner replaces in commands."""
    draw = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    words = {"high": ["broken", "urgent", "down"], "low": ["thanks", "question", "idea"]}
    for split, rows in {"train": 40, "dev": 10, "test": 20}.items():
        with (folder / f"{split}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["text", "urgency"])
            for row in range(rows):
                label = draw.choice(sorted(words))
                writer.writerow([f"{draw.choice(words[label])} {split} {row} {draw.randrange(1000)} {SECRET}", label])
            writer.writerow([f"{SECRET} {split}", "high", "one field too many"])


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Models this small only lose by threads."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("project")
    write_tickets(folder / "lib" / "python3.11", seed=1)
    config = folder / "tiny.yaml"
    config.write_text(CONFIG.format(folder=folder))
    return Project(folder, config)


@pytest.fixture(scope="module")
def first(project: Project) -> subprocess.CompletedProcess[str]:
    """The first run, by the command that a user types."""
    command = [sys.executable, "-c", "from taskmix.cli import main; main()", "run", str(project.config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=550)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def made_anew(run: LocalRun) -> set[str]:
    """The datasets and jobs that the run did not find finished."""
    steps = [step for step in run.steps if step.title.startswith(("ingest", "finetune"))]
    return {step.title for step in steps if not step.reused}


def test_first_run_ends_with_all_that_people_need(first: subprocess.CompletedProcess[str], project: Project) -> None:
    told = first.stdout
    assert "datasets ingested: 2, reused: 0" in told
    assert "jobs trained: 5, reused: 0" in told
    assert "jobs evaluated: 5, reused: 0" in told
    for system in ("svm/single", "mini/single", "mini/merged"):
        assert system in told
    assert "gate: " in told
    assert "accepted" in told
    champion = project.folder / "storage" / "deployments" / "tiny" / "champion.json"
    assert f"taskmix serve {champion} --name tiny" in told
    assert "/v1/models/tiny:predict" in told
    report = next(line.removeprefix("report: ") for line in told.splitlines() if line.startswith("report: "))
    assert "<html" in Path(report).read_text()


def test_people_are_spared_the_runners_noise(first: subprocess.CompletedProcess[str], project: Project) -> None:
    assert "KFP" not in first.stdout + first.stderr
    assert "executor_input" not in first.stdout
    assert "finetune mini [slots+urgency] ..." in first.stdout.splitlines()
    log = min((project.folder / "storage" / "runs").glob("*/run.log")).read_text()
    assert "KFP Executor" in log
    assert "step finished: smoke test tiny" in log


def test_kfp_is_given_manifests_metrics_and_a_confusion_matrix(
    first: subprocess.CompletedProcess[str], project: Project
) -> None:
    log = min((project.folder / "storage" / "runs").glob("*/run.log")).read_text()
    for artifact in ("Dataset( ", "Model( ", "Metrics( ", "ClassificationMetrics( ", "HTML( ", "Markdown( "):
        assert artifact in log
    assert "'urgency.accuracy': " in log
    assert "{'displayName': 'high'}, {'displayName': 'low'}" in log
    assert f"'uri': '{project.folder}/storage/jobs/mini.slots+urgency/" in log


@pytest.fixture(scope="module")
def second(first: subprocess.CompletedProcess[str], project: Project) -> tuple[LocalRun, list[str]]:
    """The same run again, which changes nothing of the deployment, and what people are told of it."""
    champion = project.folder / "storage" / "deployments" / "tiny" / "champion.json"
    before = champion.read_bytes()
    told: list[str] = []
    run = run_locally(load_config(project.config), tell=told.append)
    assert champion.read_bytes() == before
    return run, told


def test_second_run_trains_nothing_and_says_so(second: tuple[LocalRun, list[str]]) -> None:
    run, told = second
    assert made_anew(run) == set()
    reused = [step.title for step in run.steps if step.reused]
    assert len(reused) == 12, "two datasets, five jobs, five evaluations"
    assert any(line.startswith("finetune mini [slots+urgency]: reused") for line in told)


def test_second_run_deploys_nothing_and_says_so(second: tuple[LocalRun, list[str]]) -> None:
    run, told = second
    titles = [step.title for step in run.steps]
    assert "keep champion tiny" in titles
    assert not any(title.startswith(("deploy", "smoke")) for title in titles)
    assert any(line.strip().startswith("nothing new; served still: ") for line in told)
    decision, reason = verdict(run)
    assert decision.endswith(" is served already")
    assert reason.strip().startswith("nothing new: the best system")


def test_changed_seed_makes_everything_anew(first: subprocess.CompletedProcess[str], project: Project) -> None:
    datasets = {"ingest utterances", "ingest tickets"}
    assert made_anew(project.run(*QUICK, "seed=14")) == datasets | {"finetune svm [slots]", "finetune svm [urgency]"}


def test_changed_recipe_trains_again_and_a_refused_system_is_not_deployed(
    first: subprocess.CompletedProcess[str], project: Project
) -> None:
    run = project.run(*QUICK, "models.svm.regularization=[2.0]", "deployment.name=strict")
    assert made_anew(run) == {"finetune svm [slots]", "finetune svm [urgency]"}
    titles = [step.title for step in run.steps]
    assert "keep champion strict" in titles
    assert not any(title.startswith(("deploy", "smoke")) for title in titles)
    assert storage.read_json(storage.join(run.uri, "gate.json"))["accepted"] is False
    assert not (project.folder / "storage" / "deployments" / "strict").exists()


def test_changed_dataset_reruns_its_jobs_only(first: subprocess.CompletedProcess[str], project: Project) -> None:
    write_tickets(project.folder / "lib" / "python3.11", seed=2)
    assert made_anew(project.run(*QUICK)) == {"ingest tickets", "finetune svm [urgency]"}


def test_champion_is_the_system_that_the_gate_accepted(
    first: subprocess.CompletedProcess[str], project: Project
) -> None:
    folder = project.folder / "storage"
    champion = json.loads((folder / "deployments" / "tiny" / "champion.json").read_text())
    verdict = json.loads((folder / "runs" / champion["run"] / "gate.json").read_text())
    assert champion["system"] == verdict["system"]


def test_texts_that_are_withheld_stand_in_data_bundles_and_evaluations_only(
    first: subprocess.CompletedProcess[str], second: tuple[LocalRun, list[str]], project: Project
) -> None:
    """Of all that the runs above wrote: logs, reports, cards, verdicts, lineage, quarantine, releases."""
    storage_folder = project.folder / "storage"
    allowed = ("datasets/*/*/*.parquet", "jobs/*/*/bundle/**/*", "jobs/*/*/evaluation/**/*")
    kept = {path for pattern in allowed for path in storage_folder.glob(pattern) if path.is_file()}
    seen = [path for path in storage_folder.rglob("*") if path.is_file() and path not in kept]
    assert {"run.log", "report.html", "report.json", "report.md", "gate.json", "lineage.json", "quarantine.jsonl"} <= {
        path.name for path in seen
    }
    wanted = SECRET.lower().encode()
    assert [path for path in seen if wanted in path.read_bytes().lower()] == []
    assert any(wanted in path.read_bytes().lower() for path in kept), "nothing was planted"
    assert SECRET.lower() not in "".join([first.stdout, first.stderr, *second[1]]).lower()
