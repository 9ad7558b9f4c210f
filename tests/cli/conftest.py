from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from textwrap import dedent

import pytest


@pytest.fixture
def taskmix(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The installed console command, run as a user runs it, in a folder of its own."""
    command = str(Path(sys.executable).with_name("taskmix"))

    def run(*arguments: str, stdin: str = "", env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [command, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "COLUMNS": "200", **(env or {})},
            timeout=300,
            check=False,
        )

    return run


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    """A configuration that trains in seconds; its storage is a folder `runs` beside it."""
    path = tmp_path / "config.yaml"
    path.write_text(
        dedent("""\
        name: little
        storage: runs
        datasets:
          utterances: {format: generated, train: 200, dev: 50, test: 50}
        tasks:
          intent: {type: classification, dataset: utterances, label: intent}
          slots: {type: slot_filling, dataset: utterances, annotation: slots}
        models:
          svm: {kind: linear}
          small: {kind: encoder, architecture: {layers: 1, hidden: 16, heads: 2, feed_forward: 32}}
        """)
    )
    return path
