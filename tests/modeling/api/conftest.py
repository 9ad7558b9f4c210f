"""An endpoint on loopback and a model that leads to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from chat_server import ChatServer, running_chat_server

from taskmix.config.schema import ApiModel

KEY_ENV = "TASKMIX_TEST_KEY"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatServer]:
    """An endpoint that answers `alarm`; its key is in the environment."""
    with running_chat_server(lambda body: "alarm") as running:
        monkeypatch.setenv(KEY_ENV, running.key)
        yield running


@pytest.fixture
def api_model(server: ChatServer) -> Callable[..., ApiModel]:
    """Makes a model of the endpoint's with other settings: 1 USD for 1,000 input tokens, 2 USD for 1,000 of output."""

    def make(**settings: Any) -> ApiModel:
        standard = {
            "kind": "api",
            "base_url": server.url,
            "model": "gpt-test",
            "key_env": KEY_ENV,
            "usd_per_million_tokens": {"input": 1000.0, "output": 2000.0},
            "max_output_tokens": 20,
            "max_retries": 2,
            "timeout_s": 5,
        }
        return ApiModel.model_validate({**standard, **settings})

    return make
