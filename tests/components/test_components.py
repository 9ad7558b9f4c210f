"""Every component: thin, one folder each, nothing installed at run time, quick to start."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest
from kfp import dsl

STEPS = [
    "benchmark",
    "deploy",
    "evaluate",
    "export",
    "finetune",
    "fingerprint",
    "gate",
    "ingest",
    "keep_champion",
    "smoke_test",
    "trigger",
]
MAX_STATEMENTS = 12


def component_tree(project_root: Path, step: str) -> ast.Module:
    return ast.parse((project_root / "components" / step / "component.py").read_text())


def test_every_folder_is_a_step(project_root: Path) -> None:
    folders = sorted(path.parent.name for path in (project_root / "components").glob("*/component.py"))
    assert folders == STEPS


@pytest.mark.parametrize("step", STEPS)
def test_component_is_thin(project_root: Path, step: str) -> None:
    functions = [node for node in component_tree(project_root, step).body if isinstance(node, ast.FunctionDef)]
    assert [function.name for function in functions] == [step]
    statements = sum(isinstance(node, ast.stmt) for node in ast.walk(functions[0])) - 1
    assert statements <= MAX_STATEMENTS


@pytest.mark.parametrize("step", STEPS)
def test_component_imports_the_library_inside_only(project_root: Path, step: str) -> None:
    outside = [
        node for node in component_tree(project_root, step).body if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert all(isinstance(node, ast.ImportFrom) and node.module == "kfp.dsl" for node in outside)


@pytest.mark.parametrize("step", STEPS)
def test_component_installs_nothing_and_runs_the_image_given(step: str) -> None:
    function = getattr(importlib.import_module(f"taskmix_components.{step}.component"), step)
    component = dsl.component(function, base_image="registry.example/python@sha256:0", install_kfp_package=False)
    container = component.component_spec.implementation.container
    assert container.image == "registry.example/python@sha256:0"
    assert "pip" not in " ".join(map(str, [*container.command, *container.args]))


def test_gate_has_one_output_and_no_artifact() -> None:
    from taskmix_components.gate.component import gate

    component = dsl.component(gate, base_image="python", install_kfp_package=False)
    outputs = component.component_spec.outputs
    assert {name: spec.type for name, spec in outputs.items()} == {"Output": "Boolean"}


@pytest.mark.parametrize("module", ["taskmix.data.ingest", "taskmix.evaluation.gate", "taskmix.serving.releases"])
def test_light_steps_import_no_torch(module: str) -> None:
    program = f"import sys, taskmix_components.step, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == 0
