"""The console command as a user meets it: help, validate, plan, errors and exit codes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import typer

import taskmix as package
from taskmix.cli.app import make_app

Taskmix = Callable[..., subprocess.CompletedProcess[str]]
COMMANDS = (
    *("validate", "plan", "run", "compile", "reproduce", "report", "verify", "history", "export", "serve", "predict"),
    *("deploy", "rollback", "submit", "runs", "logs", "schedule"),
)


def test_version_is_the_packages(taskmix: Taskmix) -> None:
    done = taskmix("--version")
    assert (done.returncode, done.stdout) == (0, f"taskmix {package.__version__}\n")


def test_help_lists_every_command_with_its_meaning(taskmix: Taskmix) -> None:
    done = taskmix("--help")
    assert done.returncode == 0
    for command in COMMANDS:
        assert re.search(rf"│ {command} +[A-Z]", done.stdout), f"{command} is not in:\n{done.stdout}"
    assert done.stderr == ""


def test_each_command_has_help(taskmix: Taskmix) -> None:
    for command in COMMANDS:
        done = taskmix(command, "--help")
        assert done.returncode == 0
        assert f"Usage: taskmix {command}" in done.stdout


def test_no_help_loses_words_in_angle_brackets_which_typer_takes_for_markup() -> None:
    def texts(command: Any) -> Iterator[str]:
        yield command.help or ""
        yield from (getattr(parameter, "help", None) or "" for parameter in command.params)
        for inner in getattr(command, "commands", {}).values():
            yield from texts(inner)

    told = list(texts(typer.main.get_command(make_app())))
    assert len(told) > 100
    assert [text for text in told if re.search(r"<\w+>", text)] == []


def test_validating_imports_nothing_heavy(config_file: Path) -> None:
    program = (
        "import sys; sys.argv = ['taskmix', 'validate', sys.argv[1]]\n"
        "from taskmix.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "heavy = {'torch', 'transformers', 'kfp', 'kserve', 'sklearn', 'boto3', 'pyarrow'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(config_file)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def test_validate_says_what_a_right_file_holds(taskmix: Taskmix, config_file: Path) -> None:
    done = taskmix("validate", "config.yaml")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "config.yaml is valid: 1 dataset, 2 tasks, 3 systems of 5 jobs\n"


def test_a_wrong_file_is_one_paragraph_on_stderr_and_exit_code_2(taskmix: Taskmix, config_file: Path) -> None:
    config_file.write_text(config_file.read_text() + "sede: 5\ngate: {rank_by: intnt}\n")
    done = taskmix("validate", "config.yaml", "--set", "seed=many")
    assert (done.returncode, done.stdout) == (2, "")
    first, *problems = done.stderr.splitlines()
    assert first == "taskmix: config.yaml: 3 problems"
    assert [problem.split()[1] for problem in problems] == ["sede", "gate.rank_by", "seed"]
    assert "Traceback" not in done.stderr


def test_a_wrong_option_ends_with_exit_code_2(taskmix: Taskmix) -> None:
    done = taskmix("validate", "--no-such-option")
    assert done.returncode == 2
    assert "No such option" in done.stderr


def test_plan_shows_datasets_jobs_systems_and_that_nothing_is_done_yet(taskmix: Taskmix, config_file: Path) -> None:
    done = taskmix("plan", "config.yaml", "--set", "models.small.hardware=gpu", "--set", "hardware={gpu: {gpus: 2}}")
    assert done.returncode == 0, done.stderr
    assert re.search(r"utterances +generated +written by taskmix +intent, slots +to do", done.stdout)
    assert re.search(r"small +intent \+ slots +random weights, 1 x 16 +gpu +small/merged +to do", done.stdout)
    assert re.search(r"small/single +small.intent, small.slots +2 *\n", done.stdout)
    assert re.search(r"gpu +2 GPU +any +0 +small.intent, small.slots, small.intent\+slots", done.stdout)
    assert "Jobs (5, each trained once)" in done.stdout


def test_storage_option_goes_over_the_file(taskmix: Taskmix, config_file: Path) -> None:
    assert "storage 20" in taskmix("plan", "config.yaml", "--storage", "20").stdout


def test_plan_says_unknown_where_the_source_is_out_of_reach(taskmix: Taskmix, config_file: Path) -> None:
    config_file.write_text(
        config_file.read_text()
        .replace("{format: generated, train: 200, dev: 50, test: 50}", "{format: massive, uri: /nowhere/massive.jsonl}")
        .replace("annotation: slots", "annotation: annot_utt")
    )
    done = taskmix("plan", "config.yaml")
    assert done.returncode == 0, done.stderr
    assert re.search(r"utterances +massive +/nowhere/massive.jsonl +intent, slots +unknown", done.stdout)
    assert "unknown: utterances: /nowhere/massive.jsonl: there is no such file" in done.stdout
    assert len(re.findall(r" unknown *\n", done.stdout)) == 6  # the dataset and its five jobs


def test_plan_works_without_credentials_and_network(taskmix: Taskmix, config_file: Path, tmp_path: Path) -> None:
    """The endpoint is a closed port of this machine; the chain of credentials ends without any."""
    env = {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        "AWS_ACCESS_KEY_ID": "",
        "AWS_SECRET_ACCESS_KEY": "",
    }
    done = taskmix("plan", "config.yaml", "--storage", "s3://bucket/prefix", env=env)
    assert done.returncode == 0, done.stderr
    assert "unknown: utterances: s3://bucket/prefix" in done.stdout
    assert "Jobs (5, each trained once)" in done.stdout


def test_plan_knows_what_is_ingested(taskmix: Taskmix, config_file: Path, tmp_path: Path) -> None:
    from taskmix.config.load import load_config
    from taskmix.config.plan import make_plan
    from taskmix.data.ingest import ingest, source_version

    slice = make_plan(load_config(config_file)).dataset_slice("utterances")
    ingest(slice, storage=str(tmp_path / "runs"), version=source_version(slice))
    done = taskmix("plan", "config.yaml")
    assert done.returncode == 0, done.stderr
    assert re.search(r"utterances .* ingested", done.stdout)
    assert len(re.findall(r" to do *\n", done.stdout)) == 5


def test_interrupting_ends_with_exit_code_130(tmp_path: Path) -> None:
    pipe = tmp_path / "config.yaml"
    os.mkfifo(pipe)
    command = [str(Path(sys.executable).with_name("taskmix")), "validate", str(pipe)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as child, pipe.open("w"):
        # The pipe is open at both ends: the command reads it now, and would for ever.
        child.send_signal(signal.SIGINT)
        assert child.wait(timeout=30) == 130
        assert child.stderr is not None
        assert "Traceback" not in child.stderr.read()
