"""The process in which KFP's local runner runs: `python -m taskmix_pipelines.worker ORDER`.

It leads its own process group and ends with the process that started it, so that no training step outlives the command
that asked for it (KFP's runner leaves them alive). Its standard output is the run's whole log; `progress` reads it.
"""

import json
import os
import signal
import sys
import threading
from pathlib import Path

from kfp import local

from taskmix.config.schema import Config
from taskmix_pipelines.graph import Target, build_pipeline

LOCAL_IMAGE = "local-python"
"""Nothing is pulled; KFP's runner warns where an image's name does not hold `python`."""


def main(order: Path) -> None:
    """Run the pipeline that the file `order` describes; ends with an exception when a step failed."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _keep_python3_in_arguments()
    told = json.loads(order.read_text())
    config = Config.model_validate(told["config"])
    local.init(
        runner=local.SubprocessRunner(use_venv=False),
        pipeline_root=told["folder"],
        workspace_root=told["folder"],
        raise_on_error=True,
    )
    target = Target(run=told["run"], images={"train": LOCAL_IMAGE, "serve": LOCAL_IMAGE})
    build_pipeline(config, target=target)()


def _end_with_parent() -> None:
    """Kill the whole group once the parent is gone: it holds the other end of standard input and never writes."""
    os.read(0, 1)
    os.killpg(0, signal.SIGKILL)


def _keep_python3_in_arguments() -> None:
    """Make KFP's runner start this interpreter without spoiling arguments.

    It puts `sys.executable` in place of every `python3` of a command, also inside a step's inputs, such as a path
    `.../lib/python3.11/...` (kfp.local.subprocess_task_handler.replace_python_executable, 2.17.0). Where the executable
    is called `python3` that changes nothing; can go when KFP replaces the command's first word only.
    """
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    sys.executable = "python3"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
