"""The graph that a configuration makes, looked at through what KFP compiles of it."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp import compiler

from taskmix.config.load import load_config
from taskmix_pipelines.graph import Target, build_pipeline

IMAGES = {"train": "train-python", "serve": "serve-python"}


@pytest.fixture(scope="module")
def tasks(project_root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Every node of the quickstart's graph by the name that people see."""
    return compiled(project_root, tmp_path_factory.mktemp("compiled") / "pipeline.yaml")


def compiled(project_root: Path, path: Path, *overrides: str) -> dict[str, dict[str, Any]]:
    config = load_config(project_root / "configs" / "quickstart.yaml", overrides=overrides)
    compiler.Compiler().compile(build_pipeline(config, target=Target(run="run-1", images=IMAGES)), str(path))
    spec = yaml.safe_load(path.read_text())
    graphs = [spec["root"], *spec["components"].values()]
    found = [task for graph in graphs for task in graph.get("dag", {}).get("tasks", {}).values()]
    return {task["taskInfo"]["name"]: task for task in found}


def test_nodes_have_names_that_people_understand(tasks: dict[str, dict[str, Any]]) -> None:
    jobs = [
        "tfidf-svm [intent]",
        "tfidf-svm [topic]",
        "tfidf-svm [slots]",
        "small-encoder [intent]",
        "small-encoder [topic]",
        "small-encoder [slots]",
        "small-encoder [intent+topic+slots]",
    ]
    expected = {f"{step} {job}" for step in ("finetune", "evaluate") for job in jobs}
    expected |= {"fingerprint utterances", "ingest utterances", "benchmark", "gate"}
    expected |= {"deploy quickstart", "smoke test quickstart", "keep champion quickstart"}
    assert {name for name in tasks if "condition" not in name} - {"accepted", "refused"} == expected


def test_ingest_waits_for_the_fingerprint(tasks: dict[str, dict[str, Any]]) -> None:
    version = tasks["ingest utterances"]["inputs"]["parameters"]["version"]
    assert version["taskOutputParameter"] == {"outputParameterKey": "Output", "producerTask": "fingerprint"}


def test_only_steps_that_their_inputs_decide_are_cached(tasks: dict[str, dict[str, Any]]) -> None:
    cached = {name for name, task in tasks.items() if task.get("cachingOptions", {}).get("enableCache")}
    assert {name.split()[0] for name in cached} == {"ingest", "finetune", "evaluate"}
    assert len(cached) == 15


def test_job_gets_its_slice_only(tasks: dict[str, dict[str, Any]]) -> None:
    slice_json = tasks["finetune small-encoder [intent]"]["inputs"]["parameters"]["slice"]["runtimeValue"]["constant"]
    assert '"intent"' in slice_json
    assert not any(word in slice_json for word in ("topic", "tfidf", "deployment", "latency_texts"))


def test_benchmark_waits_for_every_evaluation(tasks: dict[str, dict[str, Any]]) -> None:
    assert len(tasks["benchmark"]["dependentTasks"]) == 7
    assert len(tasks["benchmark"]["inputs"]["parameters"]["evaluations"]["runtimeValue"]["constant"]) == 7


def test_refused_system_leads_to_the_other_branch(tasks: dict[str, dict[str, Any]]) -> None:
    accepted = tasks["accepted"]["triggerPolicy"]["condition"]
    assert tasks["refused"]["triggerPolicy"]["condition"] == f"!({accepted})"


def test_a_backend_is_exported_between_gate_and_deploy(
    tasks: dict[str, dict[str, Any]], project_root: Path, tmp_path: Path
) -> None:
    backend = ("deployment.backend=onnx-int8", "deployment.max_backend_loss=0.02", "systems=[tfidf-svm/single]")

    with_backend = compiled(project_root, tmp_path / "pipeline.yaml", *backend)

    assert "export onnx-int8" not in tasks
    given = with_backend["export onnx-int8"]["inputs"]["parameters"]
    assert given["backend"]["runtimeValue"]["constant"] == "onnx-int8"
    assert given["max_loss"]["runtimeValue"]["constant"] == 0.02
    report = with_backend["deploy quickstart"]["inputs"]["parameters"]["report"]
    assert report["taskOutputParameter"]["producerTask"] == "export"


def test_trigger_stands_between_a_datasets_new_version_and_its_jobs(project_root: Path, tmp_path: Path) -> None:
    when = "schedule={cron: 0 0 2 * * 1, retrain_when: {min_new_rows: 500}}"
    held = compiled(project_root, tmp_path / "pipeline.yaml", when, 'systems=["tfidf-svm/single"]')
    trigger = held["trigger utterances"]
    assert trigger["inputs"]["parameters"]["fresh"]["taskOutputParameter"]["producerTask"] == "ingest"
    assert not trigger["cachingOptions"]
    for job in ("finetune tfidf-svm [intent]", "evaluate tfidf-svm [intent]"):
        assert "trigger" in held[job]["dependentTasks"]
        assert "ingest" not in held[job]["dependentTasks"]
