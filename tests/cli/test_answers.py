"""`taskmix predict`, `report` and `plan` on a run that was really trained, in seconds."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from taskmix import storage
from taskmix.config.load import load_config
from taskmix.config.plan import make_plan

Taskmix = Callable[..., subprocess.CompletedProcess[str]]

CONFIG = """\
name: little
storage: {storage}
datasets:
  utterances: {{format: generated, train: 200, dev: 50, test: 50}}
tasks:
  intent: {{type: classification, dataset: utterances, label: intent}}
  slots: {{type: slot_filling, dataset: utterances, annotation: slots}}
models:
  small:
    kind: encoder
    architecture: {{layers: 1, hidden: 16, heads: 2, feed_forward: 32}}
    recipe: {{epochs: 1, learning_rate: 3e-3, max_tokens: 32}}
systems: [small/merged]
evaluation: {{resamples: 100, latency_texts: 5}}
"""


@dataclass(frozen=True)
class FinishedRun:
    config: Path
    job: str
    report: str

    @property
    def uri(self) -> str:
        return self.report.removesuffix("/report")

    @property
    def system(self) -> str:
        return f"{self.uri}/systems/small.merged.json"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    from taskmix.data.ingest import ingest, source_version
    from taskmix.evaluation.benchmark import benchmark
    from taskmix.evaluation.evaluate import evaluate
    from taskmix.training.job import finetune

    folder = tmp_path_factory.mktemp("run")
    path = folder / "config.yaml"
    path.write_text(CONFIG.format(storage=folder / "storage"))
    config = load_config(path)
    plan = make_plan(config)
    dataset_slice = plan.dataset_slice("utterances")
    dataset = ingest(dataset_slice, storage=config.storage, version=source_version(dataset_slice))
    (job,) = plan.jobs
    trained = finetune(plan.job_slice(job), datasets=[dataset], storage=config.storage)
    evaluation = evaluate(trained, slice=plan.evaluation_slice(), datasets=[dataset])
    return FinishedRun(path, trained, benchmark(config, run="run-1", evaluations=[evaluation]))


def test_predict_answers_each_line_with_a_line_of_json(taskmix: Taskmix, finished: FinishedRun) -> None:
    lines = ["wake me at nine", "", json.dumps({"text": "play some jazz", "tasks": ["intent"]})]
    done = taskmix("predict", finished.system, stdin="".join(f"{line}\n" for line in lines))
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [list(answer) for answer in answers] == [["intent", "slots"], ["intent", "slots"], ["intent"]]
    assert answers[1]["slots"] == []
    for answer in answers:
        assert 0 < answer["intent"]["probability"] < 1


def test_predict_gives_the_same_answer_from_a_file_and_from_a_job(
    taskmix: Taskmix, finished: FinishedRun, tmp_path: Path
) -> None:
    (tmp_path / "texts.txt").write_text("wake me at nine\r\nplay some jazz")
    of_file = taskmix("predict", finished.system, "texts.txt", "--task", "intent")
    of_job = taskmix("predict", finished.job, "--task", "intent", stdin="wake me at nine\nplay some jazz\n")
    assert of_file.returncode == of_job.returncode == 0, of_file.stderr + of_job.stderr
    assert of_file.stdout == of_job.stdout
    assert [list(json.loads(line)) for line in of_file.stdout.splitlines()] == [["intent"], ["intent"]]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b'{"text": "a", "tasks": ["itent"]}', "in line 2.tasks[0]: found 'itent'; allowed is an array"),
        (b'{"text": ', "in line 2: is no JSON: Expecting value (column 10)"),
        (b"caf\xe9", "in line 2: is not UTF-8 (byte 3)"),
    ],
)
def test_predict_names_the_line_that_cannot_be_answered_and_answers_the_others(
    taskmix: Taskmix, finished: FinishedRun, tmp_path: Path, line: bytes, told: str
) -> None:
    (tmp_path / "in").write_bytes(b"fine\n" + line + b"\nalso fine\n")
    done = taskmix("predict", finished.system, "in")
    before, bad, after = (json.loads(answer) for answer in done.stdout.splitlines())
    assert done.returncode == 2
    assert list(before) == list(after) == ["intent", "slots"]
    assert told in bad["error"]
    assert told in done.stderr
    assert "in: 1 of 3 lines were not answered" in done.stderr
    assert "Traceback" not in done.stderr


def test_predict_reads_every_line_as_text_when_told_to_and_gives_ids_back(
    taskmix: Taskmix, finished: FinishedRun
) -> None:
    braces = taskmix("predict", finished.system, "--form", "text", stdin="{wake me\n")
    named = taskmix("predict", finished.system, stdin='{"text": "wake me", "id": "a1"}\n')
    assert braces.returncode == named.returncode == 0, braces.stderr + named.stderr
    assert list(json.loads(braces.stdout)) == ["intent", "slots"]
    assert json.loads(named.stdout)["id"] == "a1"


def test_predict_says_what_is_no_system(taskmix: Taskmix) -> None:
    done = taskmix("predict", "nowhere")
    assert done.returncode == 2
    assert "nowhere: holds no bundle.json" in done.stderr


def test_report_is_made_again_from_storage_byte_for_byte(
    taskmix: Taskmix, finished: FinishedRun, tmp_path: Path
) -> None:
    by_uri = taskmix("report", finished.uri)
    assert (by_uri.returncode, by_uri.stdout) == (0, "report-run-1/report.html\nreport-run-1/report.md\n"), (
        by_uri.stderr
    )
    root = finished.uri.removesuffix("/runs/run-1")
    by_id = taskmix("report", "run-1", "--storage", root, "--output", "again")
    assert by_id.returncode == 0, by_id.stderr
    for name in ("report.html", "report.md"):
        published = storage.read_bytes(storage.join(finished.report, name))
        assert (tmp_path / "report-run-1" / name).read_bytes() == published
        assert (tmp_path / "again" / name).read_bytes() == published


def test_plan_knows_what_is_trained(taskmix: Taskmix, finished: FinishedRun) -> None:
    done = taskmix("plan", str(finished.config))
    assert done.returncode == 0, done.stderr
    assert re.search(r"utterances .* ingested", done.stdout)
    assert re.search(r"small +intent \+ slots .* trained", done.stdout)
    changed = taskmix("plan", str(finished.config), "--set", "models.small.recipe.epochs=2")
    assert re.search(r"utterances .* ingested", changed.stdout)
    assert re.search(r"small +intent \+ slots .* to do", changed.stdout)
