"""What the images are: no rights, no tools to build with, nothing of the machine that built them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from container_engine import labels, pip_configuration

NAMES = ("train", "serve")
FILES = "find / -xdev ( -name pip.conf -o -name .netrc -o -name .git -o -name .pypirc -o -path */.cache/pip ) -print"
COMPILERS = ("cc", "gcc", "g++", "clang", "make", "nvcc", "pip", "pip3", "git", "curl")
PACKAGES = {
    "train": {
        "present": ("deepspeed", "transformers", "kfp", "taskmix"),
        "absent": ("kserve", "pytest", "schemathesis"),
    },
    "serve": {
        "present": ("kserve", "onnxruntime", "kfp", "taskmix"),
        "absent": ("deepspeed", "accelerate", "peft", "datasets"),
    },
}


@pytest.mark.parametrize("name", NAMES)
def test_image_runs_as_nobody_with_a_root_filesystem_that_cannot_be_written(images: Any, name: str) -> None:
    python = "import os; print(os.getuid()); open('/tmp/a', 'w'); open('/opt/taskmix/a', 'w')"
    options = ["--rm", "--read-only", "--tmpfs=/tmp:rw,mode=1777", "--entrypoint=python3"]
    done = images.engine.podman("run", *options, getattr(images, name), "-c", python, check=False)

    assert done.stdout == "1000\n"
    assert "Read-only file system: '/opt/taskmix/a'" in done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_image_has_no_tools_to_build_with(images: Any, name: str) -> None:
    python = f"import json, shutil; print(json.dumps([shutil.which(tool) for tool in {COMPILERS}]))"

    found = json.loads(images.engine.run(getattr(images, name), "-c", python, options=["--entrypoint=python3"]))

    assert [tool for tool in found if tool] == []


@pytest.mark.parametrize("name", NAMES)
def test_image_holds_nothing_of_the_machine_that_built_it(images: Any, name: str) -> None:
    options = ["--entrypoint=find", "--user=0"]
    found = images.engine.run(getattr(images, name), *FILES.split()[1:], options=options, check=False).split()
    config = labels(images.engine, getattr(images, name))
    history = images.engine.podman("history", "--no-trunc", "--format=json", getattr(images, name)).stdout

    assert found == []
    assert not [entry for entry in config["Env"] if entry.startswith(("PIP_", "AWS_", "HF_TOKEN"))]
    for key in ("index-url", "extra-index-url", "find-links"):
        for value in pip_configuration().get(key, "").split():
            assert value not in json.dumps(config) + history


@pytest.mark.parametrize("name", NAMES)
def test_image_is_labelled(images: Any, name: str) -> None:
    told = labels(images.engine, getattr(images, name))

    assert told["User"] == "1000:1000"
    assert told["Labels"]["org.opencontainers.image.title"] == f"taskmix-{name}"
    assert told["Labels"]["org.opencontainers.image.version"] == "0.1.0"
    assert len(told["Labels"]["org.opencontainers.image.revision"]) == 40


@pytest.mark.parametrize("name", NAMES)
def test_image_has_the_packages_of_its_part_and_not_the_others(images: Any, name: str) -> None:
    asked = PACKAGES[name]["present"] + PACKAGES[name]["absent"]
    python = f"import importlib.util as u, json; print(json.dumps([u.find_spec(p) is not None for p in {asked}]))"

    found = json.loads(images.engine.run(getattr(images, name), "-c", python, options=["--entrypoint=python3"]))

    assert dict(zip(asked, found, strict=True)) == {package: package in PACKAGES[name]["present"] for package in asked}
