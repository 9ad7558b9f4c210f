"""`taskmix run` and `taskmix compile` as a user types them; whole runs are in test_local."""

import subprocess
import sys
from pathlib import Path

import pytest

DIGEST = "b" * 64


def taskmix(*arguments: str, before: str = "") -> subprocess.CompletedProcess[str]:
    program = f"{before}\nfrom taskmix.cli import main; main()"
    return subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=120)


def test_compile_writes_the_pipeline_and_says_what_to_do(project_root: Path, tmp_path: Path) -> None:
    output = tmp_path / "new folder" / "pipeline.yaml"
    images = [f"--set=images.{name}=registry.example/{name}@sha256:{DIGEST}" for name in ("train", "serve")]
    config = str(project_root / "configs" / "quickstart.yaml")
    done = taskmix("compile", config, "-o", str(output), "--storage", "s3://bucket/prefix", *images)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{output}: ")
    assert output.read_text().startswith("# PIPELINE DEFINITION\n# Name: quickstart\n")
    assert "s3://bucket/prefix" in output.read_text()


def test_compile_without_images_says_how_to_give_them(project_root: Path, tmp_path: Path) -> None:
    config = str(project_root / "configs" / "quickstart.yaml")
    done = taskmix("compile", config, "-o", str(tmp_path / "pipeline.yaml"))
    assert done.returncode == 2
    assert "2 problems" in done.stderr
    assert "--set images.train=" in done.stderr
    assert "--storage s3://" in done.stderr


@pytest.mark.parametrize("command", ["run", "compile"])
def test_missing_kfp_names_what_to_install(command: str, project_root: Path) -> None:
    config = str(project_root / "configs" / "quickstart.yaml")
    done = taskmix(command, config, before="import sys; sys.modules['kfp'] = None  # as if not installed")
    assert done.returncode == 2
    assert done.stderr.startswith(f"taskmix: {command} needs kfp")
    assert "pip install 'taskmix[pipeline]'" in done.stderr


def test_help_needs_no_kfp() -> None:
    program = "import sys; sys.argv = ['taskmix', 'run', '--help']\nfrom taskmix.cli import main\ntry:\n    main()\n"
    program += "except SystemExit:\n    pass\nsys.exit('kfp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60).returncode == 0
