"""What a step prints, in a process of its own as on a cluster."""

import subprocess
import sys


def run_step(body: str) -> subprocess.CompletedProcess[str]:
    """The process of a step whose body is `body`."""
    program = f"import logging\nfrom taskmix_components.step import step\nwith step('ingest demo'):\n    {body}\n"
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)


def test_step_tells_that_it_began_and_ended_around_the_librarys_own_lines() -> None:
    done = run_step("logging.getLogger('taskmix.data').info('ingested dataset=%s rows=%d', 'demo', 3)")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[:2] == ["step started: ingest demo", "ingested dataset=demo rows=3"]
    assert lines[2].startswith("step finished: ingest demo (0.")
    assert "reused" not in lines[2]


def test_step_is_reused_when_the_library_says_so() -> None:
    done = run_step("logging.getLogger('taskmix.data').info('reused dataset=%s', 'demo')")
    assert done.stdout.splitlines()[-1].endswith("s, reused)")


def test_other_libraries_speak_from_warning_on() -> None:
    done = run_step("logging.getLogger('botocore').info('noise'); logging.getLogger('botocore').warning('slow')")
    assert "noise" not in done.stdout
    assert "slow" in done.stdout.splitlines()


def test_users_fault_ends_on_its_message_without_a_traceback() -> None:
    done = run_step("from taskmix.errors import DataError; raise DataError('a.csv line 3: no text\\n  - add one')")
    assert done.returncode == 2
    assert done.stdout.splitlines()[1:3] == ["error: a.csv line 3: no text", "error:   - add one"]
    assert done.stdout.splitlines()[3].startswith("step failed: ingest demo (0.")
    assert "Traceback" not in done.stdout + done.stderr


def test_fault_of_our_own_keeps_its_traceback() -> None:
    done = run_step("raise ValueError('impossible')")
    assert done.returncode == 1
    assert "error: ValueError: impossible" in done.stdout.splitlines()
    assert "Traceback" in done.stderr
