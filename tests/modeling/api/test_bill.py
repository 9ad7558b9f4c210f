"""The bill beforehand against what an evaluation then pays, on the same requests."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from chat_server import ChatServer

from taskmix.config.schema import ApiModel, ClassificationTask
from taskmix.data.schema import LabelSpace
from taskmix.modeling.answers import TaskHead
from taskmix.modeling.api.bill import Bill, estimate_bill
from taskmix.modeling.api.model import ApiAnswerer
from taskmix.modeling.api.paid import PaidAnswers
from taskmix.modeling.prompts import PromptSet, Shot, make_prompts

HEADS = {"intent": TaskHead("intent", "classification", LabelSpace(("alarm", "music", "news")))}
SPECS = {"intent": ClassificationTask(type="classification", dataset="words", label="intent")}
SHOT = Shot(text="play jazz", answers={"intent": "music"})
TEXTS = [f"play song number {number}" for number in range(9)]
LONG = "posted " * 400


@pytest.fixture
def prompts() -> PromptSet:
    (prompt,) = make_prompts(HEADS, specs=SPECS).prompts
    return PromptSet(prompts=(prompt.model_copy(update={"shots": (SHOT,)}),))


def bill(settings: ApiModel, prompts: PromptSet, folder: Path, texts: list[str]) -> Bill:
    paid = PaidAnswers(str(folder), keeps=False)
    (prompt,) = prompts.prompts
    return estimate_bill(prompt, texts=texts, answered=[SHOT] * 3, settings=settings, heads=HEADS, paid=paid)


@pytest.mark.parametrize("structured_output", ["auto", "off"])
def test_bill_is_near_what_is_paid_and_never_below_it_at_most(
    server: ChatServer,
    api_model: Callable[..., ApiModel],
    prompts: PromptSet,
    tmp_path: Path,
    structured_output: str,
) -> None:
    server.write = lambda body: json.dumps({"intent": "music"}) if "response_format" in body else "music"
    settings = api_model(structured_output=structured_output, max_prompt_characters=1500)
    texts = [*TEXTS, *TEXTS, LONG]
    told = bill(settings, prompts, tmp_path, texts)
    assert (told.requests, told.paid) == (len(TEXTS) + 1, 0), "a text that stands twice is asked once"
    model = ApiAnswerer(settings, heads=HEADS, prompts=prompts, paid=PaidAnswers(str(tmp_path)), job="tiny")
    model.predict(texts)
    paid = model.receipt()
    assert paid.requests == told.requests
    assert paid.usd <= told.most_usd
    # The double counts words and marks, and no schema, as no real endpoint does: near means within a factor.
    assert paid.usd / 2 < told.usd < paid.usd * 3.5
    after = bill(settings, prompts, tmp_path, texts)
    assert (after.requests, after.paid, after.usd) == (0, told.requests, 0.0)
