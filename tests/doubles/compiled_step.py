"""A compiled pipeline's steps as processes: KFP's own executor on a component's source, without a container."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from taskmix.config.schema import Config
from taskmix_pipelines.compile import compile_for_cluster


@dataclass(frozen=True)
class CompiledStep:
    """A step as it stands in the compiled pipeline.

    Attributes:
        command: what its container runs, arguments and all; `{{$}}` stands for the input.
        constants: inputs that the compiler has written down.
    """

    command: tuple[str, ...]
    constants: Mapping[str, Any]

    def start(self, folder: Path, **inputs: str) -> subprocess.Popen[str]:
        """Begin it, in a process group of its own, as a container's is.

        Args:
            folder: where KFP's launcher would look for what it returns, in `output.json`.
            inputs: those that other steps and the run would give.
        """
        values = {**self.constants, **inputs}
        written = {"Output": {"outputFile": str(folder / "Output")}}
        outputs = {"parameters": written, "outputFile": str(folder / "output.json")}
        asked = json.dumps({"inputs": {"parameterValues": values}, "outputs": outputs})
        python = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return subprocess.Popen(
            [part.replace("{{$}}", asked) for part in self.command],
            env={**os.environ, "PATH": python},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )


def compile_steps(config: Config) -> dict[str, CompiledStep]:
    """A configuration's steps by their titles, as compiled for a cluster."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "pipeline.yaml")
        compile_for_cluster(config, output=path)
        spec = next(yaml.load_all(path.read_text(), Loader=yaml.CSafeLoader))
    return {task["taskInfo"]["name"]: _step(spec, task) for task in _tasks(spec, spec["root"]["dag"])}


def _tasks(spec: Any, dag: Any) -> Iterator[Any]:
    for task in dag["tasks"].values():
        inner = spec["components"][task["componentRef"]["name"]].get("dag")
        yield from _tasks(spec, inner) if inner else (task,)


def _step(spec: Any, task: Any) -> CompiledStep:
    label = spec["components"][task["componentRef"]["name"]]["executorLabel"]
    container = spec["deploymentSpec"]["executors"][label]["container"]
    given = {name: value.get("runtimeValue") for name, value in task["inputs"]["parameters"].items()}
    constants = {name: value["constant"] for name, value in given.items() if value}
    return CompiledStep((*container["command"], *container["args"]), constants)
