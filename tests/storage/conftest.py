"""The same tests for both stores: `root` is a fresh folder, then a fresh bucket."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from web_server import WebServer, running_web_server


@pytest.fixture(params=["folder", "s3"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A URI below which nothing lies."""
    if request.param == "folder":
        return str(tmp_path / "storage")
    return str(request.getfixturevalue("swift").uri) + "/some/prefix"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A local folder worth publishing: nested, with an empty file and a name that is not ASCII."""
    folder = tmp_path / "to publish"
    (folder / "nested" / "deeper").mkdir(parents=True)
    (folder / "weights.safetensors").write_bytes(bytes(range(256)) * 40)
    (folder / "nested" / "deeper" / "größe +1.json").write_text('{"größe": 1}', encoding="utf-8")
    (folder / "nested" / "empty").touch()
    return folder


@pytest.fixture
def web() -> Iterator[WebServer]:
    """A web server that gives the answers it is told to."""
    with running_web_server() as server:
        yield server
