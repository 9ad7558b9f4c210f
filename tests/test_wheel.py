"""The installed package claims no name but its own, and holds all that it needs."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def wheel(project_root: Path, tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The project's wheel, built of a copy, since setuptools builds inside the folder that it is given."""
    copy = tmp_path_factory.mktemp("source")
    for name in ("src", "components", "pipelines", "pyproject.toml", "README.md", "LICENSE"):
        source = project_root / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy(source, copy / name)
    built = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(copy / "dist"), str(copy)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    (path,) = (copy / "dist").glob("*.whl")
    return zipfile.ZipFile(path)


def test_the_wheel_claims_no_general_names(wheel: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in wheel.namelist()}
    (info,) = {top for top in tops if top.endswith(".dist-info")}
    assert tops - {info} == {"taskmix", "taskmix_components", "taskmix_pipelines"}


def test_the_wheel_holds_every_file_of_the_packages(wheel: zipfile.ZipFile, project_root: Path) -> None:
    held = set(wheel.namelist())
    folders = {"taskmix": "src/taskmix", "taskmix_components": "components", "taskmix_pipelines": "pipelines"}
    for package, folder in folders.items():
        root = project_root / folder
        files = [path for path in root.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        assert files
        missing = {f"{package}/{path.relative_to(root).as_posix()}" for path in files} - held
        assert not missing


def test_the_wheel_brings_the_console_command(wheel: zipfile.ZipFile) -> None:
    (name,) = [name for name in wheel.namelist() if name.endswith("/entry_points.txt")]
    assert "taskmix = taskmix.cli:main" in wheel.read(name).decode()
