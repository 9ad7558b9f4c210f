"""One of the processes of a training run, as torchrun starts it for `training.launch`; nobody else calls this.

It tells its error in a file, which the launcher reads: torchrun itself only tells that some process failed.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import warnings
from pathlib import Path

from taskmix.config.plan import JobSlice
from taskmix.errors import TaskmixError
from taskmix.training.launch import add_job_arguments, end_with_parent
from taskmix.training.processes import current_world


def main() -> int:
    """Train as one of several; the exit code."""
    end_with_parent()
    parser = argparse.ArgumentParser()
    add_job_arguments(parser)
    parser.add_argument("--errors", required=True, type=Path)
    given = parser.parse_args()
    world = current_world()
    logging.basicConfig(stream=sys.stdout, format="%(message)s", level=logging.WARNING)
    logging.getLogger("taskmix").setLevel(logging.INFO if world.leads else logging.WARNING)
    if not world.leads:
        warnings.simplefilter("ignore")  # the first process tells them
    try:
        from taskmix.training.job import train_and_publish

        job = JobSlice.model_validate_json(given.slice)
        train_and_publish(job, datasets=given.dataset, storage=given.storage)
    except Exception as error:
        message = str(error) if isinstance(error, TaskmixError) else f"{type(error).__name__}: {error}"
        told = {"rank": world.rank, "size": world.size, "message": message}
        (given.errors / f"{world.rank}.json").write_text(json.dumps(told), encoding="utf-8")
        if isinstance(error, TaskmixError):
            return 2
        raise
    return 0


if __name__ == "__main__":
    sys.exit(main())
