"""The processes of a training run: one, or as many as there are GPUs, on one node or on several.

    python -m taskmix.training.launch --slice JOB_SLICE_JSON --storage URI --dataset URI [--dataset URI] [--processes N]

is what a pod of a Kubeflow TrainJob runs on every node, and what works by hand. `training.job.finetune` starts the same
for the step of a pipeline, on one node. The contract with a cluster:

- `PET_NNODES`, `PET_NODE_RANK`, `PET_MASTER_ADDR`, `PET_MASTER_PORT` and `PET_NPROC_PER_NODE`, which Kubeflow Trainer
  sets in the pods of a TrainJob, are torchrun's own variables: it reads them, and nothing here repeats them. Without
  them there is one node, and its rendezvous is on loopback.
- Processes a node: `PET_NPROC_PER_NODE`, else `--processes`, else one a visible GPU, else one.
- Every pod is given the same arguments and the same storage, which must be one that all of them reach. The first
  process of the first node publishes; the others end when it has. Exit code 0: the bundle is complete. Exit code 2: an
  error of taskmix, its message on standard error. A pod that is started again goes on from the newest checkpoint.
- A bundle found complete ends every pod at once with 0.

One process needs no launcher and trains here, unless DeepSpeed wants its variables. torchrun starts the others
(`training.worker`), ends all when one fails, and dies with this process; the error of the first that failed comes out
as one `TrainingError`.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from taskmix.config.plan import JobSlice
from taskmix.config.schema import DecoderModel, EncoderModel
from taskmix.errors import TaskmixError, TrainingError

WORKER = "taskmix.training.worker"
PR_SET_PDEATHSIG = 1
"""From linux/prctl.h: the signal that the kernel sends a process when its parent dies."""


def workers_wanted(job: JobSlice, *, processes: int | None = None) -> int:
    """Processes to start on this node, 0 where this one trains alone.

    Args:
        job: only encoders and tuned decoders learn in several processes.
        processes: asked for; null takes one a visible GPU.
    """
    model = job.model
    if not isinstance(model, EncoderModel | DecoderModel) or (
        isinstance(model, DecoderModel) and model.tuning == "none"
    ):
        return 0
    if processes is None:
        import torch

        processes = max(1, torch.cuda.device_count())
    several = processes > 1 or int(os.environ.get("PET_NNODES", "1").split(":")[-1]) > 1
    needs_variables = isinstance(model, DecoderModel) and model.recipe.deepspeed is not None
    return processes if several or needs_variables else 0


def is_first() -> bool:
    """Whether this process writes what is written once: it trains alone, or is the first of torchrun's."""
    return "TORCHELASTIC_RUN_ID" not in os.environ or os.environ.get("RANK") == "0"


def launch(job: JobSlice, *, datasets: Sequence[str], storage: str, processes: int) -> None:
    """Train `job` in `processes` processes on this node, and on others that were started likewise.

    Raises:
        TrainingError: a process failed; the message is that of the first.
    """
    with tempfile.TemporaryDirectory(prefix="taskmix-errors-") as errors:
        command = [
            *[sys.executable, "-m", "torch.distributed.run", *_rendezvous(processes), "--module", WORKER],
            *["--slice", job.model_dump_json(), "--storage", storage, "--errors", errors],
            *(part for uri in datasets for part in ("--dataset", uri)),
        ]
        threads = max(1, len(os.sched_getaffinity(0)) // processes)
        environment = {"OMP_NUM_THREADS": str(threads), **os.environ, "PYTHONUNBUFFERED": "1"}
        # The launcher imports nothing between fork and exec but prctl, which is safe beside threads.
        child = subprocess.Popen(command, env=environment, preexec_fn=_end_with_parent)
        try:
            code = child.wait()
        finally:
            if child.poll() is None:
                child.terminate()
                child.wait()
        if code:
            raise TrainingError(_first_error(Path(errors), code=code))


def _rendezvous(processes: int) -> list[str]:
    """Torchrun's arguments; what a cluster says in PET_* variables is left to it."""
    arguments = ["--max-restarts", "0"]
    if "PET_NPROC_PER_NODE" not in os.environ:
        arguments += ["--nproc-per-node", str(processes)]
    if "PET_NNODES" not in os.environ:
        arguments += ["--nnodes", "1", "--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0"]
        arguments += ["--local-addr", "127.0.0.1"]
    return arguments


def _first_error(folder: Path, *, code: int) -> str:
    """The message of the process that failed first on this node."""
    told = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
    if told:
        error = json.loads(told[0].read_text(encoding="utf-8"))
        return f"process {error['rank']} of {error['size']}: {error['message']}"
    return (
        f"a training process ended without an error of its own (launcher's exit code {code}): on this node mostly "
        "stopped by the system for want of memory (lower recipe.tokens_per_forward, or give hardware.memory_gib more), "
        "else another node failed, and its log says why"
    )


def end_with_parent(signal_number: int = signal.SIGKILL) -> None:
    """Have the kernel end this process when its parent dies (Linux); elsewhere nothing happens."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal_number))


def _end_with_parent() -> None:
    end_with_parent(signal.SIGTERM)  # torchrun then ends its workers


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line above; the exit code."""
    from taskmix.training.job import finetune

    parser = argparse.ArgumentParser(prog="python -m taskmix.training.launch", description="Train one job.")
    add_job_arguments(parser)
    parser.add_argument("--processes", type=int, help="on this node; default: one a visible GPU, else one")
    given = parser.parse_args(arguments)
    logging.basicConfig(stream=sys.stdout, format="%(message)s", level=logging.WARNING)
    logging.getLogger("taskmix").setLevel(logging.INFO)
    try:
        job = JobSlice.model_validate_json(given.slice)
        print(finetune(job, datasets=given.dataset, storage=given.storage, processes=given.processes), flush=True)
    except TaskmixError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def add_job_arguments(parser: argparse.ArgumentParser) -> None:
    """What both the launcher and its workers are told of the job."""
    parser.add_argument("--slice", required=True, help="the job's slice as JSON")
    parser.add_argument("--storage", required=True, help="root of the run's storage")
    parser.add_argument("--dataset", action="append", default=[], help="URI of an ingested dataset; once for each")


if __name__ == "__main__":
    sys.exit(main())
