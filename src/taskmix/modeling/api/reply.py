"""What an endpoint answers to one request: read from its JSON, and kept on storage as it was paid for."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from taskmix.config.schema import Section


class NonsenseReply(Exception):
    """What came back with status 200 is no chat completion."""


class TokenLogprob(Section):
    """A token of the answer and the log-probability that the model gave it."""

    token: str
    logprob: float


class Reply(Section):
    """One answer, as far as taskmix uses it."""

    content: str | None
    """What the model wrote; null where it wrote nothing or refused to."""
    finish_reason: str | None = None
    """`stop`; `length` where it was cut; `content_filter` and others as the endpoint says."""
    tokens: tuple[TokenLogprob, ...] | None = None
    """The content's tokens; null where the endpoint tells no log-probabilities."""
    input_tokens: int | None = None
    output_tokens: int | None = None
    """As billed; null where the endpoint does not say."""
    served_by: str | None = None
    """The model that the endpoint says has answered, e.g. a dated version."""
    usd: float = 0.0
    seconds: float = 0.0
    """From the first attempt to the answer, waits between attempts included."""


class _Lenient(BaseModel):
    """Base of what is read from an endpoint, which may say more than we know."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class _Logprobs(_Lenient):
    content: tuple[dict[str, Any], ...] | None = None


class _Message(_Lenient):
    content: str | None = None
    refusal: str | None = None


class _Choice(_Lenient):
    message: _Message
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None


class _Usage(_Lenient):
    prompt_tokens: int
    completion_tokens: int


class _Completion(_Lenient):
    choices: tuple[_Choice, ...]
    usage: _Usage | None = None
    model: str | None = None


def read_reply(data: bytes) -> Reply:
    """The reply in the body of a response; its cost and its time are the caller's to fill in.

    Raises:
        NonsenseReply: the body is not JSON, or not a chat completion.
    """
    try:
        completion = _Completion.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise NonsenseReply(f"{where}: {first['msg']}" if where else str(first["msg"])) from None
    choice = completion.choices[0] if completion.choices else None
    usage = completion.usage
    return Reply(
        content=choice.message.content if choice and not choice.message.refusal else None,
        finish_reason="refusal" if choice and choice.message.refusal else choice.finish_reason if choice else None,
        tokens=_tokens(choice.logprobs) if choice else None,
        input_tokens=usage.prompt_tokens if usage else None,
        output_tokens=usage.completion_tokens if usage else None,
        served_by=completion.model,
    )


def _tokens(logprobs: _Logprobs | None) -> tuple[TokenLogprob, ...] | None:
    """The tokens with their log-probabilities; null where one lacks its own: a part does not stand for the whole."""
    if logprobs is None or not logprobs.content:
        return None
    try:
        return tuple(TokenLogprob(token=each["token"], logprob=each["logprob"]) for each in logprobs.content)
    except (KeyError, ValidationError):
        return None
