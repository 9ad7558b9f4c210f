"""Dockerfiles and what is sent to their build, without a container engine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

NAMES = ("train", "serve")


def dockerfile(project_root: Path, name: str) -> str:
    return (project_root / "images" / name / "Dockerfile").read_text()


def dependencies(project_root: Path, *extras: str) -> set[str]:
    """What the build would install for some extras."""
    command = [sys.executable, project_root / "images/dependencies.py", project_root / "pyproject.toml", *extras]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    return {Requirement(line).name for line in done.stdout.splitlines()}


@pytest.mark.parametrize("name", NAMES)
def test_hadolint_finds_nothing(name: str, project_root: Path) -> None:
    hadolint = shutil.which("hadolint", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if hadolint is None:
        pytest.skip("hadolint is not installed")
    command = [hadolint, "--no-color", project_root / "images" / name / "Dockerfile"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)

    assert done.returncode == 0, done.stdout


def test_the_two_images_are_made_alike_but_for_what_they_hold(project_root: Path) -> None:
    """Each Dockerfile is read from top to bottom, so their stages are written twice; a change of one is one of both."""
    instructions = {
        name: [
            line.strip().removesuffix("\\").strip().replace(name, "<name>")
            for line in dockerfile(project_root, name).splitlines()
            if line and not line.startswith("#")
        ]
        for name in NAMES
    }
    own = {
        name: {line.split("=")[0].split()[-1] for line in instructions[name] if line not in instructions[other]}
        for name, other in (NAMES, NAMES[::-1])
    }

    assert own["train"] - own["serve"] == {"NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES", '"--help"]'}
    assert own["serve"] - own["train"] == {"8080", '"/mnt/models"]'}
    assert own["train"] & own["serve"] == {"TORCH_INDEX", "org.opencontainers.image.description"}


@pytest.mark.parametrize("name", NAMES)
def test_base_is_pinned_by_digest_and_the_user_is_a_number(name: str, project_root: Path) -> None:
    text = dockerfile(project_root, name)

    assert re.findall(r"^ARG BASE_IMAGE=\S+@sha256:[0-9a-f]{64}$", text, re.MULTILINE)
    assert set(re.findall(r"^FROM (\S+)", text, re.MULTILINE)) == {"${BASE_IMAGE}", "base", "dependencies"}
    assert re.findall(r"^USER (.*)$", text, re.MULTILINE) == ["1000:1000"]


@pytest.mark.parametrize("name", NAMES)
def test_the_wheel_comes_after_its_dependencies(name: str, project_root: Path) -> None:
    copied = re.findall(r"^COPY --from=(\w+)", dockerfile(project_root, name), re.MULTILINE)

    assert copied == ["dependencies", "application"], "so that a change of code makes a small layer"


def test_serving_has_nothing_from_training_and_the_reverse(project_root: Path) -> None:
    optional = tomllib.loads((project_root / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    own = {extra: {Requirement(line).name for line in optional[extra]} - {"taskmix"} for extra in ("train", "serve")}
    installed = {name: dependencies(project_root, name, "pipeline") for name in NAMES}

    assert installed["serve"] & (own["train"] - own["serve"]) == set()
    assert installed["train"] & (own["serve"] - own["train"]) == set()
    assert {"torch", "kfp", "boto3"} <= installed["train"] & installed["serve"]


@pytest.mark.parametrize("name", NAMES)
def test_the_image_gets_the_extras_that_it_is_named_for(name: str, project_root: Path) -> None:
    assert f"dependencies.py pyproject.toml {name} pipeline >" in dockerfile(project_root, name)


def test_only_what_is_installed_is_sent_to_the_build(project_root: Path) -> None:
    lines = (project_root / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]

    assert rules[0] == "*"
    sent = {rule[1:] for rule in rules if rule.startswith("!")}
    assert all((project_root / path).exists() for path in sent)
    assert not sent & {"tests", "runs", "artifacts", ".git", ".venv", "configs"}


def test_without_an_engine_one_is_told_what_to_install(project_root: Path, tmp_path: Path) -> None:
    for tool in ("sh", "dirname", "sed", "git"):
        (tmp_path / tool).symlink_to(shutil.which(tool) or pytest.skip(f"{tool} is not installed"))
    done = subprocess.run(
        [project_root / "images/build"], env={"PATH": str(tmp_path)}, capture_output=True, text=True, timeout=30
    )

    assert done.returncode == 2
    assert "none of docker (with its server running), podman and buildah works; install one" in done.stderr


def test_an_engine_that_does_not_work_is_told(project_root: Path) -> None:
    environment = {**os.environ, "ENGINE": "no-such-engine"}
    done = subprocess.run([project_root / "images/build"], env=environment, capture_output=True, text=True, timeout=30)

    assert done.returncode == 2
    assert "ENGINE=no-such-engine does not work here" in done.stderr
