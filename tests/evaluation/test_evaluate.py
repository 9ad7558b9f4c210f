"""A job's bundle becomes predictions and a scorecard on storage."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from reciter import Reciter, gold_of

from taskmix import storage
from taskmix.config.plan import EvaluationSlice, make_plan
from taskmix.config.schema import Measurement
from taskmix.errors import Corrupt, EvaluationError, Incomplete
from taskmix.evaluation.evaluate import evaluate
from taskmix.evaluation.scorecard import read_evaluation, read_scorecard

MERGED = 6
"""Number of the encoder's job of all tasks in the plan: after three jobs of one task of each of the two models."""


def test_every_test_example_has_its_prediction_on_storage(project):
    evaluation = project.evaluate(project.job(MERGED, skill=0.9))
    dataset = next(iter(project.datasets.values()))
    table = pq.read_table(Path(evaluation) / "predictions" / "intent.parquet")
    assert table["id"].to_pylist() == [row.id for row in dataset.rows("test")]
    assert table["gold"].to_pylist() == [row.labels["intent"] for row in dataset.rows("test")]
    assert table["text"].to_pylist() == [row.text for row in dataset.rows("test")]
    sums = np.array([sum(line) for line in table["probabilities"].to_pylist()])
    assert sums == pytest.approx(np.ones(120), abs=1e-5)


def test_scorecard_holds_the_scores_that_the_predictions_give(project):
    found = read_evaluation(project.evaluate(project.job(MERGED, skill=0.85)))
    card, predictions = found.scorecard.tasks["topic"], found.predictions["topic"]
    right = sum(gold == label for gold, label in zip(predictions.gold, predictions.predicted, strict=True))
    accuracy = card.scores["accuracy"]
    assert (accuracy.numerator, accuracy.denominator, accuracy.value) == (right, 120, right / 120)
    assert accuracy.interval.low < accuracy.value < accuracy.interval.high
    assert sum(row.right for row in card.per_label) == right
    assert np.trace(np.array(card.confusion.matrix)) == right
    assert sum(bin.count for bin in card.reliability) == 120
    assert len(card.worst_errors) == min(20, 120 - right)
    assert card.worst_errors[0].probability >= card.worst_errors[-1].probability


def test_scorecard_tells_size_training_and_versions(project):
    job = project.job(MERGED, skill=0.9)
    facts = read_scorecard(project.evaluate(job)).job
    manifest = storage.read_manifest(storage.join(job, "bundle"))
    assert facts.bytes == sum(entry.bytes for entry in manifest.files)
    assert (facts.manifest, facts.parameters, facts.training_seconds) == (manifest.sha256, 3000, 37.5)
    assert facts.versions == {"python": "3.11", "taskmix": "0"}


def test_an_evaluation_found_complete_is_reused_without_loading_the_model(project):
    job = project.job(MERGED, skill=0.9)
    first = project.evaluate(job)

    def refuse(folder: Path) -> Reciter:
        raise AssertionError("the model was loaded")

    slice = make_plan(project.config).evaluation_slice()
    assert evaluate(job, slice=slice, datasets=list(project.datasets), load=refuse) == first


@pytest.mark.parametrize("change", [{"resamples": 300}, {"confidence": 0.9}, {"ece_bins": 7}])
def test_other_settings_give_another_evaluation(project, change):
    job = project.job(MERGED, skill=0.9)
    first = project.evaluate(job)
    second = project.changed(evaluation={"resamples": 200, "latency_texts": 20} | change).evaluate(job)
    assert first != second
    assert read_scorecard(second).slice != read_scorecard(first).slice


def test_another_task_on_the_dataset_leaves_the_evaluation_as_it_is(make_project: Callable[..., object]):
    full = make_project()
    job = full.job(0, skill=0.9)
    fewer = make_project(tasks={"intent": full.config.model_dump(mode="json")["tasks"]["intent"]})
    assert list(full.datasets) != list(fewer.datasets)
    assert full.evaluate(job) == fewer.evaluate(job)


def test_a_dataset_that_is_not_given_is_named(project):
    job = project.job(MERGED, skill=0.9)
    with pytest.raises(
        EvaluationError, match="task 'intent' is asked of dataset 'assistant', but the datasets given are"
    ):
        evaluate(job, slice=make_plan(project.config).evaluation_slice(), datasets=[])


def test_a_dataset_without_the_task_is_named(make_project):
    full = make_project()
    tasks = full.config.model_dump(mode="json")["tasks"]
    fewer = make_project(tasks={"intent": tasks["intent"]})
    with pytest.raises(EvaluationError, match="holds the tasks \\['intent'\\], not 'topic' of job"):
        fewer.evaluate(full.job(MERGED, skill=0.9))


def test_a_half_written_bundle_is_not_evaluated(project):
    job = project.job(MERGED, skill=0.9)
    (Path(job) / "bundle" / "MANIFEST.json").unlink()
    with pytest.raises(Incomplete):
        project.evaluate(job)


def test_a_changed_prediction_is_found_when_it_is_read(project):
    evaluation = project.evaluate(project.job(0, skill=0.9))
    path = Path(evaluation) / "predictions" / "intent.parquet"
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(Corrupt, match=r"intent\.parquet"):
        read_evaluation(evaluation)


def test_a_scorecard_of_another_format_is_refused(project):
    evaluation = project.evaluate(project.job(0, skill=0.9))
    path = Path(evaluation) / "scorecard.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 2}))
    with pytest.raises(EvaluationError, match=r"'format'.*reads scorecards of format 1"):
        read_scorecard(evaluation)


def test_the_reciter_is_as_good_as_it_says(make_project):
    """The double itself: what other tests take for given."""
    project = make_project(test_rows=600)
    datasets = list(project.datasets.values())
    found = read_evaluation(project.evaluate(project.job(1, skill=0.8))).scorecard
    assert found.tasks["topic"].primary_score.value == pytest.approx(
        0.8 + 0.2 / len(found.tasks["topic"].labels), abs=0.05
    )
    assert set(gold_of(datasets)) == {"intent", "topic", "slots"}
    assert EvaluationSlice(seed=13, evaluation=Measurement(resamples=200, latency_texts=20)) == found.slice
