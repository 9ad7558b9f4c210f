"""The images, built once and honestly, for tests that run them; only where `make test-images` asks for it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from container_engine import Engine, EngineUnavailable, build_images, running_engine

ASKED = "TASKMIX_TEST_IMAGES"
"""Set by `make test-images`: 1, or a folder in which base and layers stay for the next time."""


@dataclass(frozen=True)
class Images:
    """What was built.

    Attributes:
        engine: that has them.
        train: name of the image for training.
        serve: name of the image for serving.
        told: what the build said.
    """

    engine: Engine
    train: str
    serve: str
    told: str


@pytest.fixture(scope="session")
def images(project_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Images]:
    asked = os.environ.get(ASKED)
    if not asked:
        pytest.skip("takes minutes and gigabytes; `make test-images` runs it")
    keep = asked != "1"
    folder = Path(asked) if keep else tmp_path_factory.mktemp("containers")
    try:
        with running_engine(folder, keep=keep) as engine:
            told = build_images(engine, project_root, tag="test")
            yield Images(engine, "localhost/taskmix-train:test", "localhost/taskmix-serve:test", told)
    except EngineUnavailable as error:
        pytest.skip(str(error))
