"""`taskmix plan` on prompts: their lengths in tokens, and what of a text they leave out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from taskmix import storage
from taskmix.cli.app import make_app
from taskmix.cli.prompt_lengths import Lengths, length_remarks, length_table, measure_prompt, ruler_of
from taskmix.config.plan import make_plan
from taskmix.config.schema import ApiModel, ClassificationTask, Config, DecoderModel
from taskmix.data.dataset import CARD, Dataset
from taskmix.data.ingest import ingest, source_version
from taskmix.data.schema import LabelSpace
from taskmix.modeling.answers import TaskHead
from taskmix.modeling.prompt_tokens import PromptTokens
from taskmix.modeling.prompts import PromptSet, TaskPrompt, make_task_prompt
from taskmix.training.decoder_scratch import train_decoder_tokenizer

HEAD = TaskHead("intent", "classification", LabelSpace(("alarm_set", "music")))
SPEC = ClassificationTask(type="classification", dataset="words", label="intent")
API: dict[str, Any] = {
    "kind": "api",
    "base_url": "http://127.0.0.1:9/v1",
    "model": "gpt",
    "usd_per_million_tokens": {"input": 1, "output": 2},
}


def prompt() -> TaskPrompt:
    return make_task_prompt(HEAD, spec=SPEC)


def card(*, median: int, long: int) -> Dataset:
    return Dataset(Path(), {"splits": {"train": {"lengths": {"characters": {"p50": median, "p99": long}}}}})


def lengths(model: DecoderModel | ApiModel, known: Dataset | None) -> Lengths:
    return measure_prompt(prompt(), model=model, ruler=ruler_of(model), heads={"intent": HEAD}, card=known)


def decoder(**fields: Any) -> DecoderModel:
    return DecoderModel.model_validate({"kind": "decoder", "checkpoint": "org/llama-8b", **fields})


def test_without_a_tokenizer_four_characters_are_a_token() -> None:
    found = lengths(decoder(recipe={"max_tokens": 100}), card(median=40, long=1000))
    header = len(prompt().ask("").plain()) / 4
    assert found.header == header
    assert found.texts == (10, 250)
    assert found.answer == len(" alarm_set") / 4
    assert found.cut == (0, pytest.approx(1 - (100 - header) / 250))


def test_an_endpoint_s_limit_is_its_characters() -> None:
    found = lengths(ApiModel.model_validate({**API, "max_prompt_characters": 400}), card(median=40, long=1000))
    assert found.limit == 100
    assert found.cut[1] > 0


def test_examples_take_their_part_and_at_most_half_of_the_room() -> None:
    few = lengths(decoder(tuning="none", shots=2), card(median=40, long=80))
    each = len(prompt().question.replace("{text}", "")) / 4 + 10 + few.answer
    assert few.shots == pytest.approx(2 * each)
    many = lengths(decoder(tuning="none", shots=500), card(median=40, long=80))
    assert many.shots == (1024 - many.header) / 2


def test_a_tokenizer_in_a_folder_counts_the_header_exactly(tmp_path: Path) -> None:
    tokenizer = train_decoder_tokenizer(["wake me", prompt().header], vocabulary=300)
    tokenizer.save_pretrained(tmp_path)
    model = decoder(checkpoint=str(tmp_path))
    asker = PromptTokens(tokenizer, prompts=PromptSet(prompts=(prompt(),)), max_tokens=1024, chat="auto", tuned=True)
    assert ruler_of(model).counted_by == "its tokenizer"
    assert lengths(model, None).header == len(asker.ask(prompt(), ""))


def test_where_no_header_fits_all_of_a_text_is_cut() -> None:
    assert Lengths(header=120, answer=1, limit=100, texts=(10.0, 0.0)).cut == (1, 0)


def config(tmp_path: Path, **task: Any) -> dict[str, Any]:
    return {
        "name": "asked",
        "storage": str(tmp_path / "runs"),
        "datasets": {"words": {"format": "generated", "train": 60, "dev": 20, "test": 20}},
        "tasks": {"intent": {"type": "classification", "dataset": "words", "label": "intent", **task}},
        "models": {"gpt": API, "llama": {"kind": "decoder", "architecture": {}, "recipe": {"max_tokens": 512}}},
    }


def test_before_the_first_ingest_the_plan_tells_the_header_of_labels_that_are_configured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "asked.yaml"
    path.write_text(yaml.safe_dump(config(tmp_path, labels=["alarm_set", "music"])), encoding="utf-8")
    make_app()(["plan", str(path)], standalone_mode=False)
    shown = capsys.readouterr().out
    assert "Lengths of the texts of words are told after the first ingest" in shown
    assert f"~{len(prompt().ask('').plain()) / 4:,.0f} " in shown


def test_models_that_are_alike_are_named_once_for_all_their_prompts(tmp_path: Path) -> None:
    fields = config(tmp_path, labels=["alarm_set", "music"])
    fields["tasks"]["topic"] = {**fields["tasks"]["intent"], "label": "topic", "labels": ["home", "music"]}
    fields["models"]["llama-again"] = fields["models"]["llama"]
    table = length_table(make_plan(Config.model_validate(fields)), cards={})
    assert list(table.columns[0].cells) == ["gpt", "", "llama, llama-again", ""]
    assert list(table.columns[1].cells) == ["intent", "topic"] * 2


def test_after_an_ingest_the_plan_tells_lengths_by_the_data_card(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, fields = tmp_path / "asked.yaml", config(tmp_path)
    path.write_text(yaml.safe_dump(fields), encoding="utf-8")
    part = make_plan(Config.model_validate(fields)).dataset_slice("words")
    uri = ingest(part, storage=fields["storage"], version=source_version(part))
    make_app()(["plan", str(path)], standalone_mode=False)
    shown = capsys.readouterr().out
    long = storage.read_json(storage.join(uri, CARD))["splits"]["train"]["lengths"]["characters"]["p99"]
    row = next(line for line in shown.splitlines() if "characters" in line and " intent " in line)
    assert f"~{long / 4:,.0f} " in row
    assert "after the first ingest" not in shown


def test_nothing_is_left_to_remark_when_every_dataset_is_on_storage(tmp_path: Path) -> None:
    plan = make_plan(Config.model_validate(config(tmp_path)))
    assert length_remarks(plan, cards={"words": card(median=1, long=2)}) == []
    assert length_remarks(plan, cards={}) != []
