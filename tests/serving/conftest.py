"""A real server around the tiny model, on a free port of the loopback device."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from serving_double import Served, serving


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One server for all tests that only ask."""
    with serving(tmp_path_factory.mktemp("served") / "output.txt") as server:
        yield server


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Served]:
    """A server that the test may stop."""
    with serving(tmp_path / "output.txt") as server:
        yield server
