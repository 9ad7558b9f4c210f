"""One request to an endpoint that fails, stalls, limits the rate and talks nonsense: what is asked, paid and told."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from chat_server import ChatServer, Fault

from taskmix.config.schema import ApiModel
from taskmix.errors import ApiError, SpendingLimit
from taskmix.modeling.api.endpoint import Attempts, Endpoint, Refused, key_of
from taskmix.modeling.api.paid import PaidAnswers, request_hash
from taskmix.modeling.api.reply import Reply
from taskmix.modeling.api.spending import Spending, most_usd

Make = Callable[..., ApiModel]
MESSAGES = [{"role": "user", "content": "Text: wake me at nine\nAnswer:"}]
PAID_USD = 8 * 0.001 + 1 * 0.002
"""Of `MESSAGES`, in which the double counts 8 tokens, and the answer of one."""

SOON = {"retry-after-ms": "10"}
"""Keeps tests short: the client's own first wait is half a second."""


class Till:
    """Asks one request, with its own count of money and its folder of paid answers."""

    def __init__(self, model: ApiModel, folder: Path) -> None:
        self.model, self.folder = model, folder
        self.most_usd = most_usd(model, body={"model": model.model, "messages": MESSAGES, "max_tokens": 20})
        self.spending = Spending(limit_usd=model.spending_limit_usd, limited="job tiny.intent")

    def ask(self, **more: Any) -> Reply:
        body = {"model": self.model.model, "messages": MESSAGES, "max_tokens": 20, **more}
        attempts = Attempts(
            request_hash(self.model.base_url, body),
            most_usd=self.most_usd,
            spending=self.spending,
            paid=PaidAnswers(str(self.folder)),
        )
        return Endpoint(self.model, key=key_of(self.model)).ask(body, attempts=attempts)

    @property
    def kept_usd(self) -> float:
        return PaidAnswers(str(self.folder)).spent_usd


@pytest.fixture
def till(api_model: Make, tmp_path: Path) -> Callable[..., Till]:
    return lambda **settings: Till(api_model(**settings), tmp_path / "answers")


def test_answer_costs_what_the_endpoint_bills(server: ChatServer, till: Callable[..., Till]) -> None:
    desk = till()
    reply = desk.ask()
    assert (reply.content, reply.input_tokens, reply.output_tokens) == ("alarm", 8, 1)
    assert reply.served_by == "gpt-test-2024-01-01"
    assert (
        reply.usd == pytest.approx(PAID_USD) == pytest.approx(desk.spending.spent_usd) == pytest.approx(desk.kept_usd)
    )
    assert 0 < reply.seconds < 5
    ((_, headers),) = server.requests
    assert headers["authorization"] == f"Bearer {server.key}"


def test_answer_without_usage_is_charged_the_most_it_can_cost(server: ChatServer, till: Callable[..., Till]) -> None:
    server.tells_usage = False
    desk = till()
    assert desk.ask().usd == desk.most_usd > PAID_USD


def test_failures_are_tried_again_and_cost_nothing(server: ChatServer, till: Callable[..., Till]) -> None:
    server.faults = [Fault(500, headers=SOON), Fault(503, headers=SOON)]
    desk = till()
    assert desk.ask().content == "alarm"
    assert len(server.requests) == 3
    assert desk.kept_usd == pytest.approx(PAID_USD)


def test_rate_limit_waits_as_long_as_the_endpoint_says(server: ChatServer, till: Callable[..., Till]) -> None:
    server.faults = [Fault(429, headers={"Retry-After": "1"})]
    started = time.monotonic()
    reply = till().ask()
    assert 1.0 <= time.monotonic() - started < 2.5, "without Retry-After the first wait is half a second at most"
    assert reply.seconds >= 1.0, "a caller waits for it too"


def test_stalled_attempt_is_given_up_and_counted_as_paid(server: ChatServer, till: Callable[..., Till]) -> None:
    server.faults = [Fault(stall_s=0.6)]
    desk = till(timeout_s=0.2)
    assert desk.ask().content == "alarm"
    assert desk.spending.spent_usd == pytest.approx(PAID_USD + desk.most_usd) == pytest.approx(desk.kept_usd)


OVERHEATED = Fault(500, headers=SOON, message="overheated")
LIMITED = Fault(429, headers=SOON)


@pytest.mark.parametrize(
    ("faults", "settings", "message"),
    [
        ([OVERHEATED] * 3, {}, r"fails with 500 after 3 tries \(.*overheated.*run again to go on"),
        ([LIMITED] * 3, {}, r"limits the rate still after 3 tries .*lower concurrency \(8\)"),
        ([Fault(stall_s=0.5)], {"timeout_s": 0.1, "max_retries": 0}, r"sent nothing for 0.1 s, 1 try; raise timeout_s"),
        ([Fault(404, message="no such model")], {}, r"knows no 'gpt-test' or no /chat/completions .*no such model"),
        ([Fault(403)], {}, r"refused the key in TASKMIX_TEST_KEY \(403\); set a valid key"),
    ],
)
def test_endpoint_that_does_not_answer_is_told_in_words(
    server: ChatServer, till: Callable[..., Till], faults: list[Fault], settings: dict[str, Any], message: str
) -> None:
    server.faults = list(faults)
    with pytest.raises(ApiError, match=rf"(?s)^{server.url}: {message}"):
        till(**settings).ask()


def test_unreachable_endpoint_is_told(till: Callable[..., Till]) -> None:
    with pytest.raises(ApiError, match=r"http://127\.0\.0\.1:9/v1: cannot be reached after 1 try .*check base_url"):
        till(base_url="http://127.0.0.1:9/v1", max_retries=0).ask()


def test_wrong_key_is_told_and_never_shown(
    server: ChatServer, till: Callable[..., Till], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASKMIX_TEST_KEY", "a-wrong-key-0123456789")
    with pytest.raises(ApiError, match=r"refused the key in TASKMIX_TEST_KEY \(401\)") as told:
        till().ask()
    assert "0123456789" not in str(told.value)
    assert len(server.requests) == 1, "a refused key is not tried again"


def test_key_is_hidden_in_what_the_endpoint_says(server: ChatServer, till: Callable[..., Till]) -> None:
    server.faults = [Fault(418, headers=SOON, message=f"odd: {server.key}")]
    with pytest.raises(ApiError, match=r"fails with 418 .*odd: \*\*\*"):
        till().ask()


@pytest.mark.parametrize("status", [400, 418])
def test_what_an_endpoint_says_of_a_text_is_not_told(
    server: ChatServer, till: Callable[..., Till], status: int
) -> None:
    server.faults = [Fault(status, message="cannot answer: wake me at nine")]
    with pytest.raises((ApiError, Refused)) as told:
        till(max_retries=0).ask()
    assert "wake me" not in str(told.value)
    assert "(withheld): the message quotes a text" in str(told.value)


def test_missing_key_is_told_before_anything_is_sent(
    server: ChatServer, till: Callable[..., Till], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TASKMIX_TEST_KEY")
    with pytest.raises(ApiError, match=r"the environment variable TASKMIX_TEST_KEY is not set"):
        till().ask()
    assert not server.requests


@pytest.mark.parametrize("body", [b"<html>welcome</html>", b'{"choices": 3}', b'{"choices": [{"no": 1}]}', b""])
def test_nonsense_is_asked_again_and_may_have_been_billed(
    server: ChatServer, till: Callable[..., Till], body: bytes
) -> None:
    server.faults = [Fault(200, body=body)]
    desk = till()
    assert desk.ask().content == "alarm"
    assert desk.spending.spent_usd == pytest.approx(PAID_USD + desk.most_usd)


def test_endpoint_that_talks_nothing_but_nonsense_is_told(server: ChatServer, till: Callable[..., Till]) -> None:
    server.faults = [Fault(200, body=b"<html>", headers={"content-type": "text/html"})] * 3
    with pytest.raises(ApiError, match=r"answered 3 times with no chat completion .*check base_url"):
        till().ask()


def test_completion_without_a_choice_is_an_answer_that_says_nothing(
    server: ChatServer, till: Callable[..., Till]
) -> None:
    empty = {"choices": [], "usage": {"prompt_tokens": 11, "completion_tokens": 0}}
    server.faults = [Fault(200, body=json.dumps(empty).encode())]
    reply = till().ask()
    assert reply.content is None
    assert reply.usd == pytest.approx(11 * 0.001)


def test_refused_parameter_is_told_apart(server: ChatServer, till: Callable[..., Till]) -> None:
    server.refuses = frozenset({"logprobs"})
    desk = till()
    with pytest.raises(Refused, match="Unsupported parameter: 'logprobs'"):
        desk.ask(logprobs=True)
    assert desk.spending.spent_usd == desk.kept_usd == 0.0
    assert not list((desk.folder).rglob("*.json")), "what cost nothing leaves nothing"


def test_attempt_that_could_cross_the_limit_is_not_sent(server: ChatServer, till: Callable[..., Till]) -> None:
    desk = till(spending_limit_usd=0.05)
    assert desk.most_usd > 0.05
    with pytest.raises(SpendingLimit, match=r"job tiny\.intent: stopped before the spending limit: 0 USD of .*0\.05"):
        desk.ask()
    assert not server.requests


def test_retry_after_a_stall_counts_what_the_stalled_attempt_may_have_cost(
    server: ChatServer, till: Callable[..., Till]
) -> None:
    server.faults = [Fault(stall_s=0.5)] * 3
    limit = 1.5 * till().most_usd
    desk = till(timeout_s=0.1, spending_limit_usd=limit)
    with pytest.raises(SpendingLimit):
        desk.ask()
    assert len(server.requests) == 1
    assert desk.kept_usd == desk.spending.spent_usd == desk.most_usd < limit
