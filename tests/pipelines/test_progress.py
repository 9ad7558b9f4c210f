"""What people see of a run, from lines as KFP's local runner prints them."""

import io

from taskmix_pipelines.progress import Progress

RUN = """\
22:15:27.100 - INFO - Running pipeline: 'tiny'
22:15:27.200 - INFO - Executing task 'ingest'
    [KFP Executor 2026-11-23 22:15:27,300 INFO]: Got executor_input:
    {
        "inputs": {}
    }
    step started: ingest demo
    rows 12  4 rows/s
    step finished: ingest demo (0.3 s)
    [KFP Executor 2026-11-23 22:15:27,600 INFO]: Wrote executor output file to /tmp/x.
22:15:27.700 - INFO - Task 'ingest' finished with status SUCCESS
    step started: finetune svm [intent]
    reused job=svm.intent
    step finished: finetune svm [intent] (0.2 s, reused)
"""
FAILURE = "22:15:29.000 - ERROR - Task \x1b[96m'ingest'\x1b[0m finished with status \x1b[91mFAILURE\x1b[0m\n"


def follow(text: str) -> tuple[Progress, list[str], str]:
    told: list[str] = []
    log = io.StringIO()
    progress = Progress(tell=told.append, log=log)
    progress.follow(io.StringIO(text))
    return progress, told, log.getvalue()


def test_people_see_steps_and_their_own_lines_only() -> None:
    _, told, _ = follow(RUN)
    assert told == [
        "ingest demo ...",
        "  rows 12  4 rows/s",
        "ingest demo: done (0.0 s)",
        "finetune svm [intent] ...",
        "  reused job=svm.intent",
        "finetune svm [intent]: reused (0.0 s)",
    ]


def test_log_keeps_everything() -> None:
    _, _, log = follow(RUN)
    assert log == RUN


def test_finished_steps_are_counted_with_their_reuse() -> None:
    progress, _, _ = follow(RUN)
    assert [(event.title, event.reused) for event in progress.finished] == [
        ("ingest demo", False),
        ("finetune svm [intent]", True),
    ]
    assert not progress.failed


def test_failed_step_comes_first_with_its_own_error() -> None:
    own = "    step started: ingest demo\n    error: a.csv line 3: no text\n    error:   - add one\n"
    progress, told, log = follow(
        f"{own}    step failed: ingest demo (0.1 s)\n{FAILURE}    step started: ingest other\n"
    )
    assert progress.failed
    assert "other" not in log, "nothing is read behind the failure"
    lines = progress.failure(log="runs/r1/run.log").splitlines()
    assert lines[:2] == ["a.csv line 3: no text", "  - add one"]
    assert lines[2].startswith("step 'ingest demo' failed after")
    assert lines[2].endswith("full log: runs/r1/run.log")
    assert not any("error" in line for line in told), "it is told once, at the end"


def test_killed_step_is_said_to_be_killed() -> None:
    progress, _, _ = follow(f"    step started: finetune big [intent]\n    Killed\n{FAILURE}")
    lines = progress.failure(log="run.log").splitlines()
    assert lines[0].startswith("step 'finetune big [intent]' ended without an error of its own: most often")
    assert lines[1] == "Killed"


def test_step_that_never_began_fails_with_its_last_line() -> None:
    progress, _, _ = follow(
        "    Traceback (most recent call last):\n    ModuleNotFoundError: No module named 'taskmix_components'\n"
        + FAILURE
    )
    assert progress.failure(log="run.log").splitlines()[0] == (
        "ModuleNotFoundError: No module named 'taskmix_components'"
    )


def test_runner_that_broke_before_any_step_fails_with_its_last_line() -> None:
    progress, _, _ = follow("Traceback (most recent call last):\n  File ...\nImportError: no kfp\n")
    assert progress.failure(log="run.log").splitlines()[0] == "ImportError: no kfp"
