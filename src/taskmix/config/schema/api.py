"""`kind: api` of the section `models`: a model behind an OpenAI-compatible endpoint, asked and paid by the token."""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from taskmix.config.schema.section import Name, Positive, Section


class TokenPrices(Section):
    """USD for a million tokens."""

    input: float = Field(ge=0)
    """Of the prompt."""
    output: float = Field(ge=0)
    """Of the answer."""


class KeySecret(Section):
    """The entry of a Kubernetes Secret that holds the key: the compiled pipeline and the server mount it."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")]
    key: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,253}$")]


class ApiModel(Section):
    """A model that is asked over HTTP with the prompts of decoders; nothing is tuned, every answer may cost."""

    kind: Literal["api"]
    base_url: str
    """Of the OpenAI-compatible API, up to and without `/chat/completions`, e.g. https://api.openai.com/v1."""
    model: str = Field(min_length=1)
    """As the endpoint calls it."""
    shots: int = Field(0, ge=0)
    """Examples from train in the prompt: one a label until there are so many."""
    answers: Literal["separate", "joint"] = "separate"
    """A merged model is asked task by task, or answers all tasks of a dataset at once."""
    key_env: str | None = None
    """Name of the environment variable that holds the key; null for an endpoint that takes none."""
    key_secret: KeySecret | None = None
    """Where a cluster's steps get `key_env` from."""
    usd_per_million_tokens: TokenPrices
    prices_as_of: date | None = None
    """The day on which the prices were looked up."""
    spending_limit_usd: Annotated[float, Field(ge=0)] | None = None
    """What the evaluation of one job may cost, over all its runs: nothing is asked that could cross it."""
    max_output_tokens: Positive = 256
    """Of one answer; bounds its cost."""
    max_prompt_characters: int = Field(24_000, ge=256)
    """Of a prompt, examples included: long texts are cut in their middle. About four make a token of English."""
    structured_output: Literal["auto", "on", "off"] = "auto"
    """Bind answers to the task's labels by a JSON schema; auto goes without where the endpoint refuses it."""
    logprobs: Literal["auto", "off"] = "auto"
    """Ask for the tokens' log-probabilities, of which an answer's probability is made; auto goes without if refused."""
    concurrency: Positive = 8
    """Requests in flight at once."""
    timeout_s: float = Field(60.0, gt=0)
    """Without a byte for so long, a request is given up and tried again."""
    max_retries: int = Field(8, ge=0)
    """After a timeout, a lost connection, 408, 409, 429 and 5xx; waits as Retry-After says, else ever longer."""
    hardware: Name | None = None
    """Of the step that asks; it needs no GPU."""

    @field_validator("base_url")
    @classmethod
    def _is_an_endpoint(cls, base_url: str) -> str:
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("must be http(s)://host/path without a query, e.g. https://api.openai.com/v1")
        return base_url.rstrip("/")

    @field_validator("key_env")
    @classmethod
    def _names_a_variable(cls, key_env: str | None) -> str | None:
        if key_env is not None and not re.fullmatch(r"[A-Z_][A-Z0-9_]{0,63}", key_env):
            raise ValueError(
                "must be the NAME of an environment variable, in capitals, e.g. OPENAI_API_KEY; if it was the key "
                "itself, take it out and revoke it"
            )
        return key_env

    @model_validator(mode="after")
    def _secret_fills_a_variable(self) -> ApiModel:
        if self.key_secret is not None and self.key_env is None:
            raise ValueError("key_secret needs key_env, the variable that it fills")
        return self
