"""Sending requests: the `openai` library's client, with every attempt counted, and its errors in words of ours.

The library waits and tries again by itself: as long as Retry-After says (up to two minutes), else exponentially with
jitter (`openai._base_client`). Its hooks on each attempt are where money is set aside before anything is sent.
"""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any

import openai

from taskmix.config.schema import ApiModel
from taskmix.data.withholding import without_quotes
from taskmix.errors import ApiError
from taskmix.modeling.api.paid import PaidAnswers
from taskmix.modeling.api.reply import NonsenseReply, Reply, read_reply
from taskmix.modeling.api.spending import Spending, usd_of

TRIES_OF_NONSENSE = 3
"""How often a request is sent whose answer is no chat completion; arbitrary."""
SHOWN_CHARACTERS = 300
"""Of an endpoint's own message; arbitrary."""
FAULTS_OF_THE_TEXT = frozenset({"content_filter", "context_length_exceeded", "string_above_max_length"})
"""Codes of 400s that say that this text cannot be answered, while others can (OpenAI's and Azure's error codes)."""
GO_ON = "answers that are paid for are on storage: run again to go on"


class Attempts:
    """The attempts of one request: each sets money aside before it is sent.

    Args:
        request: the request's hash.
        most_usd: the most that one attempt can cost.
        spending: the job's count.
        paid: where attempts are noted.
    """

    def __init__(self, request: str, *, most_usd: float, spending: Spending, paid: PaidAnswers) -> None:
        self._request, self.most_usd = request, most_usd
        self._spending, self._paid = spending, paid
        self._unanswered_usd = paid.unanswered_usd(request)
        self._open = False

    def begin(self) -> None:
        """An attempt is about to be sent.

        Raises:
            SpendingLimit: it could cross the limit.
        """
        self._give_up()
        self._spending.reserve(self.most_usd)
        self._open = True
        self._paid.note(self._request, unanswered_usd=self._unanswered_usd + self.most_usd)

    def refused(self) -> None:
        """The endpoint answered the attempt with an error, which it does not bill."""
        if self._open:
            self._open = False
            self._spending.settle(self.most_usd, usd=0.0)

    def answered(self, reply: Reply) -> None:
        """The attempt was answered; the answer is kept."""
        self._paid.keep(self._request, reply, unanswered_usd=self._unanswered_usd)
        self._open = False
        self._spending.settle(self.most_usd, usd=reply.usd)

    def failed(self) -> None:
        """No more attempts follow, and no answer came."""
        self._give_up()
        self._paid.note(self._request, unanswered_usd=self._unanswered_usd)

    def _give_up(self) -> None:
        """An attempt that no answer came to may have been billed."""
        if self._open:
            self._open = False
            self._unanswered_usd += self.most_usd
            self._spending.settle(self.most_usd, usd=self.most_usd)


_attempts: ContextVar[Attempts] = ContextVar("attempts")
"""Of the request that the current thread sends; the client's hooks are told of nothing but the HTTP request."""


class Refused(Exception):
    """The endpoint refused a request as it stands (400 or 422).

    Attributes:
        code: the endpoint's own code of what is wrong, if it names one.
        message: its words, bounded, without the key.
        told: the same for people, or a note where it quotes a text.
    """

    def __init__(self, code: str, message: str, *, told: str) -> None:
        self.code, self.message, self.told = code, message, told
        super().__init__(told)


class Endpoint:
    """One endpoint with its key; any number of threads may ask it at once.

    Args:
        model: where it is and how patiently it is asked.
        key: what it takes as `Authorization: Bearer`.
    """

    def __init__(self, model: ApiModel, *, key: str) -> None:
        self._model, self._key = model, key
        self._client = openai.OpenAI(
            base_url=model.base_url,
            api_key=key,
            timeout=model.timeout_s,
            max_retries=model.max_retries,
            http_client=openai.DefaultHttpxClient(event_hooks={"request": [_begin], "response": [_see_status]}),
        )
        weakref.finalize(self, self._client.close)

    def ask(self, body: Mapping[str, Any], *, attempts: Attempts, clock: Callable[[], float] = time.monotonic) -> Reply:
        """The answer to one request, kept and paid.

        Raises:
            Refused: the endpoint cannot do with the request; nothing is billed.
            SpendingLimit: an attempt could cross the limit.
            ApiError: no answer came, after all retries.
        """
        _attempts.set(attempts)
        started = clock()
        try:
            reply = self._first_sensible(dict(body))
        except BaseException:
            attempts.failed()
            raise
        reply = reply.model_copy(update={"usd": self._cost(reply, attempts), "seconds": clock() - started})
        attempts.answered(reply)
        return reply

    def rejection(self, refused: Refused) -> ApiError:
        """The error to tell where a request is refused whatever is left out of it."""
        return ApiError(
            f"{self._model.base_url}: refuses the request for '{self._model.model}' ({refused.told}); check model, "
            f"max_output_tokens and structured_output against what it offers; {GO_ON}"
        )

    def _cost(self, reply: Reply, attempts: Attempts) -> float:
        """USD by the tokens that the endpoint bills; where it tells none, the most that they can be."""
        if reply.input_tokens is None or reply.output_tokens is None:
            return attempts.most_usd
        prices = self._model.usd_per_million_tokens
        return usd_of(prices, input_tokens=reply.input_tokens, output_tokens=reply.output_tokens)

    def _first_sensible(self, body: dict[str, Any]) -> Reply:
        problem = ""
        for _ in range(TRIES_OF_NONSENSE):
            try:
                return read_reply(self._send(body))
            except NonsenseReply as nonsense:
                problem = str(nonsense)
        raise ApiError(
            f"{self._model.base_url}: answered {TRIES_OF_NONSENSE} times with no chat completion ({problem}); check "
            f"base_url: it ends before /chat/completions; {GO_ON}"
        )

    def _send(self, body: dict[str, Any]) -> bytes:
        """The body of the response.

        Raises:
            Refused: 400 or 422.
            ApiError: another error, after the retries.
        """
        try:
            return self._client.chat.completions.with_raw_response.create(**body).http_response.content
        except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
            words = self._words(error)
            raise Refused(str(error.code or error.param or ""), words, told=_without_texts(words, body)) from None
        except openai.OpenAIError as error:
            told = self._tell(error, said=_without_texts(self._words(error), body))
            raise ApiError(f"{self._model.base_url}: {told}") from None

    def _tell(self, error: openai.OpenAIError, *, said: str) -> str:
        model, count = self._model, self._model.max_retries + 1
        tries = f"{count} {'try' if count == 1 else 'tries'}"
        match error:
            case openai.AuthenticationError() | openai.PermissionDeniedError():
                where = f"in {model.key_env}" if model.key_env else "given (none: models.*.key_env is not set)"
                return f"refused the key {where} ({error.status_code}); set a valid key that may use '{model.model}'"
            case openai.NotFoundError():
                return f"knows no '{model.model}' or no /chat/completions (404: {said}); check both"
            case openai.RateLimitError():
                return (
                    f"limits the rate still after {tries} ({said}); lower concurrency "
                    f"({model.concurrency}), raise max_retries, or look at the account's quota; {GO_ON}"
                )
            case openai.APITimeoutError():
                return f"sent nothing for {model.timeout_s:g} s, {tries}; raise timeout_s, or try later; {GO_ON}"
            case openai.APIConnectionError():
                return f"cannot be reached after {tries} ({error.__cause__ or error}); check base_url; {GO_ON}"
            case openai.APIStatusError():
                return f"fails with {error.status_code} after {tries} ({said}); try later; {GO_ON}"
        return f"{type(error).__name__}: {said}; {GO_ON}"

    def _words(self, error: Exception) -> str:
        """What the endpoint said, bounded and without the key."""
        words = " ".join(str(error).split()).replace(self._key, "***")
        return words if len(words) <= SHOWN_CHARACTERS else words[:SHOWN_CHARACTERS] + "..."


def key_of(model: ApiModel) -> str:
    """The key from the environment.

    Raises:
        ApiError: the variable is not set.
    """
    if model.key_env is None:
        return "none"  # the client insists on one; endpoints that take none do not look
    key = os.environ.get(model.key_env, "").strip()
    if not key:
        raise ApiError(
            f"the environment variable {model.key_env} is not set, which holds the key of {model.base_url}; "
            f"export {model.key_env}=..., or on a cluster set key_secret"
        )
    return key


def _without_texts(words: str, body: Mapping[str, Any]) -> str:
    return without_quotes(
        words, texts=[message["content"] for message in body["messages"] if message["role"] == "user"]
    )


def _begin(request: object) -> None:
    _attempts.get().begin()


def _see_status(response: Any) -> None:
    if not response.is_success:
        _attempts.get().refused()
