"""A recorded run is run again from nothing, and comes out bit for bit the same."""

from pathlib import Path

import pytest

from taskmix.config.load import load_config
from taskmix.config.plan import make_plan
from taskmix.config.schema import Config
from taskmix.data.ingest import ingest, source_version
from taskmix.errors import ConfigError, NotFound
from taskmix.evaluation.benchmark import benchmark
from taskmix.evaluation.evaluate import evaluate
from taskmix.evaluation.gate import decide
from taskmix.evaluation.lineage import verify_run
from taskmix.training.job import finetune
from taskmix_pipelines.reproduce import reproduce

CONFIG = """
name: tiny
storage: {folder}/storage
datasets:
  utterances: {{format: generated, train: 80, dev: 20, test: 30}}
tasks:
  intent: {{type: classification, dataset: utterances, label: intent}}
models:
  svm: {{kind: linear, regularization: [1.0]}}
evaluation: {{resamples: 100, latency_texts: 2}}
gate: {{minimum: {{intent: 1.0}}}}
"""


def quietly(line: str) -> None:
    """Tells nobody."""


def run_in_this_process(config: Config) -> str:
    """The steps of a run one by one, without KFP; the run's URI."""
    plan = make_plan(config)
    (slice,) = (plan.dataset_slice(name) for name in config.datasets)
    datasets = [ingest(slice, storage=config.storage, version=source_version(slice))]
    jobs = [finetune(plan.job_slice(job), datasets=datasets, storage=config.storage) for job in plan.jobs]
    evaluations = [evaluate(job, slice=plan.evaluation_slice(), datasets=datasets) for job in jobs]
    report = benchmark(config, run="run-1", evaluations=evaluations)
    decide(report)
    return report.removesuffix("/report")


def test_a_run_made_again_from_its_record_is_bit_for_bit_the_same(tmp_path: Path) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text(CONFIG.format(folder=tmp_path))
    run = run_in_this_process(load_config(path))
    assert verify_run(run).faults == ()
    path.unlink()
    findings = reproduce(run, into=str(tmp_path / "again"), tell=quietly)
    assert {finding.outcome for finding in findings} == {"identical"}, findings
    assert (tmp_path / "again" / "jobs" / "svm.intent").is_dir(), "made anew, not found"
    with pytest.raises(ConfigError, match=r"storage: .* is the run's own, where all would be found done"):
        reproduce(run, into=str(tmp_path / "storage"), tell=quietly)
    with pytest.raises(NotFound):
        reproduce(f"{tmp_path}/storage/runs/nowhere", into=str(tmp_path / "again"), tell=quietly)
