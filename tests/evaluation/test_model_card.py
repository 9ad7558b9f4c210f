"""A model card for each bundle, as Hugging Face's own reader understands it."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from taskmix.config.schema import EncoderModel
from taskmix.evaluation.report import regenerate
from taskmix.evaluation.report.model import Report, read_report
from taskmix.evaluation.report.model_card import render_cards


@pytest.fixture
def report(report_uri: str) -> Report:
    return read_report(report_uri)


def test_each_bundle_has_a_card_beside_the_report_and_it_is_made_again_byte_for_byte(report_uri, report, tmp_path):
    folder = Path(report_uri) / "cards"
    assert {path.name for path in folder.iterdir()} == {job.name for job in report.jobs}
    regenerate(report_uri, folder=tmp_path)
    for job in report.jobs:
        again = (tmp_path / "cards" / job.name / "README.md").read_bytes()
        assert again == (folder / job.name / "README.md").read_bytes()


def test_the_model_index_holds_the_scores_with_their_intervals(report):
    card = ModelCard(render_cards(report)["encoder.intent+topic+slots"])
    assert card.data.library_name == "taskmix"
    assert card.data.pipeline_tag == "text-classification"
    found = {(result.task_name, result.metric_name): result for result in card.data.eval_results}
    asked = [("intent", "accuracy"), ("intent", "macro_f1"), ("topic", "accuracy"), ("topic", "macro_f1")]
    assert set(found) == {*asked, ("slots", "span_f1")}
    details = {(one.job, one.card.task): one.card for one in report.details}
    score = details["encoder.intent+topic+slots", "slots"].scores["span_f1"]
    told = found["slots", "span_f1"]
    assert told.metric_value == pytest.approx(score.value, abs=5e-5)
    assert told.metric_args["low"] == pytest.approx(score.interval.low, abs=5e-5)
    assert (told.dataset_split, told.dataset_args["texts"], told.task_type) == ("test", 120, "token-classification")


def test_a_card_tells_use_data_calibration_limits_and_where_the_bundle_lies(report):
    for job in report.jobs:
        text = render_cards(report)[job.name]
        for section in ("Intended use", "Data", "Scores", "Calibration", "Limits", "Training", "Use it, check it"):
            assert f"\n## {section}\n" in text
        assert job.manifest in text
        assert "duplicates within a split" in text
        assert f"taskmix verify {report.run}" in text


def test_a_hub_checkpoint_is_the_base_model_and_a_path_is_not_published(report):
    def base(checkpoint: str) -> object:
        models = {**report.config.models, "encoder": EncoderModel(kind="encoder", checkpoint=checkpoint)}
        changed = report.model_copy(update={"config": report.config.model_copy(update={"models": models})})
        return ModelCard(render_cards(changed)["encoder.intent"]).data.base_model

    assert base("sentence-transformers/all-MiniLM-L6-v2@c9745ed") == "sentence-transformers/all-MiniLM-L6-v2"
    assert base("s3://models/minilm") is None
