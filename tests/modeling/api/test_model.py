"""A job that is asked over HTTP: valid answers, invalid ones counted, nothing paid twice, no limit crossed."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from chat_server import Body, ChatServer, Fault

from taskmix.config.schema import ApiModel, ClassificationTask, SlotFillingTask
from taskmix.data.schema import LabelSpace, Span
from taskmix.errors import ApiError, SpendingLimit, UnknownTask
from taskmix.modeling.answers import ClassificationAnswer, Consultant, SlotsAnswer, TaskHead
from taskmix.modeling.api.model import ApiAnswerer
from taskmix.modeling.api.paid import PaidAnswers
from taskmix.modeling.prompts import PromptSet, Shot, make_prompts

Make = Callable[..., ApiModel]
HEADS = {
    "intent": TaskHead("intent", "classification", LabelSpace(("alarm", "music", "news"))),
    "slots": TaskHead("slots", "slot_filling", LabelSpace(("time", "place"))),
}
SPECS = {
    "intent": ClassificationTask(type="classification", dataset="words", label="intent"),
    "slots": SlotFillingTask(type="slot_filling", dataset="words", annotation="slots"),
}
TEXTS = [f"wake me at nine number {number}" for number in range(12)]
SHOT = Shot(text="play jazz in london", answers={"intent": "music", "slots": (Span(3, 4, "place"),)})


def prompts(*tasks: str, joint: bool = False, shots: tuple[Shot, ...] = ()) -> PromptSet:
    heads = {task: HEADS[task] for task in tasks}
    made = make_prompts(heads, specs=SPECS, joint=joint)
    return PromptSet(prompts=tuple(prompt.model_copy(update={"shots": shots}) for prompt in made.prompts))


def answerer(
    settings: ApiModel, folder: Path | None, *tasks: str, joint: bool = False, shots: tuple[Shot, ...] = ()
) -> ApiAnswerer:
    heads = {task: HEADS[task] for task in tasks}
    paid = PaidAnswers(str(folder) if folder else None)
    return ApiAnswerer(settings, heads=heads, prompts=prompts(*tasks, joint=joint, shots=shots), paid=paid, job="tiny")


def says(answer: Any) -> Callable[[Body], str]:
    return lambda body: answer if isinstance(answer, str) else json.dumps(answer)


def test_label_comes_with_the_probability_of_its_tokens(server: ChatServer, api_model: Make, tmp_path: Path) -> None:
    server.write = says({"intent": "alarm"})
    model = answerer(api_model(), tmp_path, "intent")
    assert isinstance(model, Consultant)
    ((answers),) = model.predict(["wake me"])
    answer = answers["intent"]
    assert isinstance(answer, ClassificationAnswer)
    assert (answer.label, answer.valid) == ("alarm", True)
    assert answer.probability == pytest.approx(0.9, abs=1e-4), "one token of probability 0.9; JSON's own do not count"
    assert answer.probabilities == pytest.approx([0.9, 0.05, 0.05], abs=1e-4)


def test_spans_come_in_words_of_the_text_each_with_its_own_probability(
    server: ChatServer, api_model: Make, tmp_path: Path
) -> None:
    spans = [{"slot": "time", "words": "nine am", "occurrence": 1}, {"slot": "time", "words": "nine", "occurrence": 1}]
    server.write = says({"slots": spans})
    ((answers),) = answerer(api_model(), tmp_path, "slots").predict(["at nine am or nine"])
    answer = answers["slots"]
    assert isinstance(answer, SlotsAnswer)
    assert answer.spans == (Span(1, 3, "time"), Span(4, 5, "time"))
    first, second = answer.probabilities
    assert 0 < first < second < 1, "more words are less likely"


def test_endpoint_without_logprobs_leaves_the_probability_unknown(
    server: ChatServer, api_model: Make, tmp_path: Path
) -> None:
    server.write, server.tells_logprobs = says({"intent": "alarm"}), False
    answer = answerer(api_model(), tmp_path, "intent").predict(["wake me"])[0]["intent"]
    assert isinstance(answer, ClassificationAnswer)
    assert answer.label == "alarm"
    assert math.isnan(answer.probability)


@pytest.mark.parametrize("nonsense", ["", "I think it is an alarm", '{"intent": "party"}', '{"intent"', "alarm."])
def test_answer_that_is_none_is_counted_and_not_guessed(
    server: ChatServer, api_model: Make, tmp_path: Path, nonsense: str
) -> None:
    server.write = says(nonsense)
    answer = answerer(api_model(), tmp_path, "intent").predict(["wake me"])[0]["intent"]
    assert isinstance(answer, ClassificationAnswer)
    assert not answer.valid
    assert answer.probability == 0.0


def test_answer_that_was_cut_is_none(server: ChatServer, api_model: Make, tmp_path: Path) -> None:
    choice = {"message": {"content": "time: nine"}, "finish_reason": "length"}
    server.faults = [Fault(200, body=json.dumps({"choices": [choice]}).encode())]
    model = answerer(api_model(structured_output="off"), tmp_path, "slots")
    assert model.predict(["at nine"])[0]["slots"] == SlotsAnswer((), (), valid=False)


def test_text_that_the_endpoint_will_not_answer_spoils_no_other(
    server: ChatServer, api_model: Make, tmp_path: Path
) -> None:
    server.write = says({"intent": "alarm"})
    server.faults = [Fault(400, code="content_filter", message="filtered")]
    model = answerer(api_model(concurrency=1), tmp_path, "intent")
    first, second = (answers["intent"] for answers in model.predict(["a rude word", "wake me"]))
    assert isinstance(first, ClassificationAnswer)
    assert isinstance(second, ClassificationAnswer)
    assert (first.valid, second.label) == (False, "alarm")
    assert model.receipt().requests == 1


def test_plain_answers_do_where_the_endpoint_knows_no_schema(
    server: ChatServer, api_model: Make, tmp_path: Path
) -> None:
    server.refuses, server.write = frozenset({"response_format", "logprobs"}), says("alarm")
    model = answerer(api_model(concurrency=1), tmp_path, "intent")
    assert [answers["intent"].label for answers in model.predict(TEXTS[:3])] == ["alarm"] * 3  # type: ignore[union-attr]
    assert len(server.requests) == 5, "each refusal is met once, then remembered"
    assert model.spending.spent_usd == pytest.approx(model.receipt().usd), "a refusal costs nothing"


def test_schema_that_must_be_and_is_refused_ends_the_run(server: ChatServer, api_model: Make, tmp_path: Path) -> None:
    server.refuses = frozenset({"response_format"})
    with pytest.raises(ApiError, match=r"refuses the request for 'gpt-test' \(.*response_format"):
        answerer(api_model(structured_output="on", logprobs="off"), tmp_path, "intent").predict(["wake me"])


def test_newer_word_for_the_length_is_taken_up(server: ChatServer, api_model: Make, tmp_path: Path) -> None:
    message = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
    server.faults, server.write = [Fault(400, message=message)], says({"intent": "alarm"})
    answerer(api_model(), tmp_path, "intent").predict(["wake me"])
    assert [("max_tokens" in body, "max_completion_tokens" in body) for body, _ in server.requests] == [
        (True, False),
        (False, True),
    ]


@pytest.mark.parametrize("structured_output", ["auto", "off"])
def test_examples_are_answered_as_the_answer_is_wanted(
    server: ChatServer, api_model: Make, tmp_path: Path, structured_output: str
) -> None:
    joint = '{"intent": "music", "slots": [{"slot": "place", "words": "london", "occurrence": 1}]}'
    lines = "intent: music\nslots: place: london"
    wanted = joint if structured_output == "auto" else lines
    server.write = says(wanted)
    settings = api_model(structured_output=structured_output, answers="joint")
    model = answerer(settings, tmp_path, "intent", "slots", joint=True, shots=(SHOT,))
    assert model.predict(["some song from london"])[0]["slots"].spans == (Span(3, 4, "place"),)  # type: ignore[union-attr]
    ((body, _),) = server.requests
    assert [message["role"] for message in body["messages"]] == ["system", "user", "assistant", "user"]
    assert body["messages"][2]["content"] == wanted
    assert ("response_format" in body) == (structured_output == "auto")


def test_merged_job_answers_only_what_is_asked(server: ChatServer, api_model: Make, tmp_path: Path) -> None:
    server.write = says({"intent": "alarm"})
    model = answerer(api_model(), tmp_path, "intent", "slots")
    assert list(model.predict(["wake me"], tasks=["intent"])[0]) == ["intent"]
    assert len(server.requests) == 1
    with pytest.raises(UnknownTask, match="'topic' is not one of"):
        model.predict(["wake me"], tasks=["topic"])


def test_long_text_is_cut_in_its_middle_and_spans_are_told_in_the_whole(
    server: ChatServer, api_model: Make, tmp_path: Path
) -> None:
    spans = [{"slot": "time", "words": "nine", "occurrence": 1}, {"slot": "place", "words": "paris", "occurrence": 1}]
    server.write = says({"slots": spans})
    text = "nine " + "word " * 3000 + "paris"
    answer = answerer(api_model(max_prompt_characters=1000), tmp_path, "slots").predict([text])[0]["slots"]
    assert answer.spans == (Span(0, 1, "time"), Span(3001, 3002, "place"))  # type: ignore[union-attr]
    ((body, _),) = server.requests
    assert sum(len(message["content"]) for message in body["messages"]) <= 1000


def test_no_more_requests_than_allowed_are_in_flight(server: ChatServer, api_model: Make, tmp_path: Path) -> None:
    server.write, server.answer_s = says({"intent": "alarm"}), 0.05
    answerer(api_model(concurrency=3), tmp_path, "intent").predict(TEXTS)
    assert server.most_in_flight == 3


def test_what_is_paid_for_is_never_asked_again(server: ChatServer, api_model: Make, tmp_path: Path) -> None:
    server.write = says({"intent": "alarm"})
    first = answerer(api_model(), tmp_path, "intent")
    told = first.consult([*TEXTS, *TEXTS])
    assert len(server.requests) == len(TEXTS)
    second = answerer(api_model(), tmp_path, "intent")
    assert [each.seconds for each in second.consult([*TEXTS, *TEXTS])] == [each.seconds for each in told]
    assert len(server.requests) == len(TEXTS)
    assert second.receipt() == first.receipt()
    assert second.spending.spent_usd == pytest.approx(first.receipt().usd)


def test_what_is_paid_for_is_known_even_where_the_schema_was_refused(
    server: ChatServer, api_model: Make, tmp_path: Path
) -> None:
    server.refuses, server.write = frozenset({"response_format"}), says("alarm")
    answerer(api_model(), tmp_path, "intent").predict(["wake me"])
    asked = len(server.requests)
    answerer(api_model(), tmp_path, "intent").predict(["wake me"])
    assert len(server.requests) == asked


def test_failure_in_the_middle_keeps_what_came(server: ChatServer, api_model: Make, tmp_path: Path) -> None:
    server.write = says({"intent": "alarm"})
    settings = api_model(concurrency=1, max_retries=0)
    model = answerer(settings, tmp_path, "intent")
    model.predict(TEXTS[:4])
    server.faults = [Fault(500)]
    with pytest.raises(ApiError, match="run again to go on"):
        model.predict(TEXTS)
    answerer(settings, tmp_path, "intent").predict(TEXTS)
    assert len(server.answered) == len(TEXTS)


def test_limit_stops_before_it_is_crossed_and_a_higher_one_goes_on(
    server: ChatServer, api_model: Make, tmp_path: Path
) -> None:
    server.write = says({"intent": "alarm"})
    limit = 1.0
    model = answerer(api_model(spending_limit_usd=limit), tmp_path, "intent")
    with pytest.raises(SpendingLimit, match=r"job tiny: .* raise the limit and run again"):
        model.predict(TEXTS)
    spent = PaidAnswers(str(tmp_path)).spent_usd
    assert 0 < spent <= limit
    assert len(server.answered) == len(server.requests) < len(TEXTS)
    bought = len(server.answered)
    with pytest.raises(SpendingLimit):
        answerer(api_model(spending_limit_usd=limit), tmp_path, "intent").predict(TEXTS)
    assert len(server.requests) == bought, "another run of the job has the same purse"
    answerer(api_model(spending_limit_usd=100.0), tmp_path, "intent").predict(TEXTS)
    assert len(server.requests) == len(TEXTS)


CHILD = """
import json, sys
from pathlib import Path
from taskmix.config.schema import ApiModel
sys.path.insert(0, sys.argv[1])
from test_model import TEXTS, answerer
settings = ApiModel.model_validate_json(sys.argv[2])
answerer(settings, Path(sys.argv[3]), "intent").predict(TEXTS)
print("done")
"""


def test_killed_process_goes_on_without_asking_what_was_answered(
    server: ChatServer, api_model: Make, tmp_path: Path, project_root: Path
) -> None:
    server.write, server.answer_s = says({"intent": "alarm"}), 0.1
    settings = api_model(concurrency=2)
    command = [sys.executable, "-c", CHILD, str(Path(__file__).parent), settings.model_dump_json(), str(tmp_path)]
    path = os.pathsep.join([str(project_root / "tests" / "doubles"), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path}
    child = subprocess.Popen(command, env=environment)
    deadline = time.monotonic() + 30
    while len(server.answered) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(child.pid, signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    time.sleep(2 * server.answer_s)
    kept = PaidAnswers(str(tmp_path))
    answers = sum(bought.reply is not None for bought in kept.all())
    billed = len(server.answered)
    assert 2 <= answers <= billed < len(TEXTS)
    assert kept.spent_usd >= billed * kept_price(kept), "what was in flight is counted, though its answer is lost"
    answerer(settings, tmp_path, "intent").predict(TEXTS)
    assert len(server.answered) == billed + len(TEXTS) - answers, "only answers that never arrived are asked again"


def kept_price(kept: PaidAnswers) -> float:
    """USD of one answer."""
    return next(bought.reply.usd for bought in kept.all() if bought.reply is not None)
