"""What the documents tell people to type, and where they send them, is there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from taskmix.config.load import load_config
from taskmix.config.plan import make_plan

FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(text: str, language: str) -> list[str]:
    return [body for name, body in FENCE.findall(text) if name == language]


@pytest.fixture(scope="module")
def readme(project_root: Path) -> str:
    return (project_root / "README.md").read_text()


def test_the_readmes_ten_lines_are_a_whole_configuration(readme: str, tmp_path: Path) -> None:
    (block,) = blocks(readme, "yaml")
    assert len(block.splitlines()) == 10
    path = tmp_path / "tickets.yaml"
    path.write_text(block)
    plan = make_plan(load_config(path))
    assert [system.name for system in plan.systems] == ["tfidf-svm/single", "minilm/single", "minilm/merged"]


def test_the_readmes_commands_and_options_exist(readme: str, project_root: Path) -> None:
    commands = [
        line.split("#")[0].split("<<<")[0].split()
        for block in blocks(readme, "bash")
        for line in block.replace("\\\n", " ").splitlines()
    ]
    assert {command[0] for command in commands} == {"make", "taskmix"}
    targets = re.findall(r"^([\w-]+):", (project_root / "Makefile").read_text(), re.MULTILINE)
    for command in commands:
        if command[0] == "make":
            assert command[1] in targets
    used: dict[str, set[str]] = {}
    for command in commands:
        if command[0] == "taskmix":
            used.setdefault(command[1], set()).update(word for word in command if word.startswith("-"))
    here = {"validate", "plan", "run", "predict", "serve", "verify", "reproduce", "history"}
    assert set(used) == here | {"compile", "submit", "runs", "logs", "schedule"}
    for name, options in used.items():
        shown = _help_of(name)
        for option in options:
            assert re.search(rf"(?<![\w-]){re.escape(option)}\b", shown), f"{name} has no {option}"


def _help_of(command: str) -> str:
    taskmix = str(Path(sys.executable).with_name("taskmix"))
    return subprocess.run([taskmix, command, "--help"], capture_output=True, text=True, timeout=60, check=True).stdout


def test_the_readmes_files_of_configuration_exist(readme: str, project_root: Path) -> None:
    named = set(re.findall(r"configs/[\w-]+\.yaml", readme))
    assert named == {f"configs/{path.name}" for path in (project_root / "configs").glob("*.yaml")}


def test_links_between_documents_lead_somewhere(project_root: Path) -> None:
    documents = [*project_root.glob("*.md"), *(project_root / "docs").rglob("*.md")]
    assert len(documents) >= 9
    for document in documents:
        for target in re.findall(r"\]\(([^)#]+)", document.read_text()):
            if "://" not in target:
                assert (document.parent / target).exists(), f"{document.name} links to {target}"


def test_every_make_target_is_listed_in_help(project_root: Path) -> None:
    shown = subprocess.run(
        ["make", "--no-print-directory", "help"],
        cwd=project_root,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    phony = re.search(r"^\.PHONY: (.*)", (project_root / "Makefile").read_text(), re.MULTILINE)
    assert phony is not None
    listed = re.findall(r"^  make ([\w-]+)", shown, re.MULTILINE)
    assert listed == phony[1].split()
    assert {"run", "test", "check", "pipeline-submit"} <= set(listed)


def test_the_lock_pins_every_direct_dependency_without_places_or_builds(project_root: Path) -> None:
    import tomllib

    lines = [line for line in (project_root / "requirements.lock").read_text().splitlines() if not line.startswith("#")]
    for line in lines:
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line), line
    pinned = {_canonical(line.split("==")[0]) for line in lines}
    project = tomllib.loads((project_root / "pyproject.toml").read_text())["project"]
    wanted = [
        *project["dependencies"],
        *(need for extra in project["optional-dependencies"].values() for need in extra),
    ]
    names = {_canonical(re.match(r"[A-Za-z0-9._-]+", need).group()) for need in wanted}  # type: ignore[union-attr]
    assert names - {"taskmix"} <= pinned


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
