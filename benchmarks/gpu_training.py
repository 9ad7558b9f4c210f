"""How fast decoders are fine-tuned on this machine, of which rate, and in how much memory against the estimate.

    python benchmarks/gpu_training.py --shape llama-3-8b --tuning lora     # random weights of its true shape
    python benchmarks/gpu_training.py --shape llama-3-8b --tuning full --deepspeed zero3 --offload
    python benchmarks/gpu_training.py --tiny                               # seconds, on a CPU: that it runs

Each run is a whole job on generated utterances, single (intent) and merged (intent and slots): packed batches, dev
scores, checkpoint, weights written and verified. Figures are those of the bundle's own record. Needs torch and
transformers, and neither kfp nor kserve.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from taskmix.config.plan import DatasetSlice, JobSlice
from taskmix.config.schema import DecoderModel
from taskmix.data.ingest import ingest, source_version
from taskmix.modeling.bundle import TrainingRecord, read_card
from taskmix.training.job import finetune
from taskmix.training.memory import estimate
from taskmix.training.model_shapes import PUBLISHED, shape_of

TASKS = {
    "intent": {"type": "classification", "dataset": "words", "label": "intent"},
    "slots": {"type": "slot_filling", "dataset": "words", "annotation": "slots"},
}
TINY = {"layers": 2, "hidden": 64, "heads": 2, "feed_forward": 128, "vocabulary": 500}
FLOPS_A_WEIGHT = {"full": 6, "lora": 4}
"""Operations of a step, a weight and token: 6 by Kaplan et al. 2020 (arXiv 2001.08361, section 2.1); LoRA needs no
gradients of frozen weights."""


@dataclass(frozen=True)
class Run:
    """One job to measure."""

    name: str
    tasks: tuple[str, ...]


RUNS = (Run("single", ("intent",)), Run("merged", ("intent", "slots")))


def architecture(shape: str) -> dict[str, int]:
    """The shape published under this name, as a configuration's `architecture`."""
    import re

    for pattern, (layers, hidden, heads, keys, feed_forward, vocabulary) in PUBLISHED.items():
        if re.fullmatch(pattern, shape):
            return {
                "layers": layers,
                "hidden": hidden,
                "heads": heads,
                "key_value_heads": keys,
                "feed_forward": feed_forward,
                "vocabulary": vocabulary,
            }
    raise SystemExit(f"--shape {shape}: allowed are names like {', '.join(PUBLISHED)}")


def measured_flops(*, tiny: bool) -> float:
    """Floating-point operations a second of a large matrix product on this device: what there is to be used."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    size = 512 if tiny else 8192
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    best = float("inf")
    for _ in range(5):
        started = time.perf_counter()
        product = left @ right
        product[0, 0].item()  # waits for the device
        best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best


def make_job(run: Run, arguments: argparse.Namespace) -> JobSlice:
    """The job of a run."""
    recipe: dict[str, Any] = {"epochs": 1, "tokens_per_batch": 1024 if arguments.tiny else arguments.tokens_per_batch}
    recipe |= {"max_tokens": 512, "gradient_checkpointing": not arguments.tiny, "learning_rate": 1e-5}
    recipe |= {"precision": "auto" if torch.cuda.is_available() else "fp32"}
    if arguments.deepspeed:
        recipe |= {"deepspeed": arguments.deepspeed, "offload": arguments.offload}
    shape = TINY if arguments.tiny else architecture(arguments.shape)
    model = {"kind": "decoder", "architecture": shape, "tuning": arguments.tuning, "recipe": recipe}
    tasks = {task: TASKS[task] for task in run.tasks}
    return JobSlice.model_validate({"model_name": "measured", "seed": 13, "model": model, "tasks": tasks})


def measure(job: JobSlice, *, folder: Path, rows: int) -> TrainingRecord:
    """Train `job` on `rows` generated rows; what its bundle says of the training."""
    source = {"format": "generated", "train": rows, "dev": 40, "test": 40}
    part = {"name": "words", "seed": 13, "dataset": source, "tasks": TASKS}
    dataset = DatasetSlice.model_validate(part)
    uri = ingest(dataset, storage=str(folder), version=source_version(dataset))
    return read_card(Path(finetune(job, datasets=[uri], storage=str(folder))) / "bundle").training


def add_row(table: Table, run: Run, job: JobSlice, record: TrainingRecord, *, flops: float) -> None:
    """One line of figures."""
    assert isinstance(job.model, DecoderModel)
    shape = shape_of(job.model)
    assert shape is not None
    gpus = max(1, torch.cuda.device_count())
    expected = estimate(job.model, shape=shape, gpus=gpus).total_gib
    rate = record.tokens_per_s or 0.0
    used = FLOPS_A_WEIGHT[job.model.tuning] * record.parameters * rate / gpus / flops
    table.add_row(
        run.name,
        f"{record.parameters / 1e9:.3f}",
        f"{rate:,.0f}",
        f"{100 * used:.1f}",
        f"{record.peak_memory_gib or 0.0:.1f}",
        f"{expected:.1f}",
        f"{record.seconds:.0f}",
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="a tiny model and few rows")
    parser.add_argument("--shape", default="llama-3-8b")
    parser.add_argument("--tuning", choices=list(FLOPS_A_WEIGHT), default="lora")
    parser.add_argument("--deepspeed", choices=["zero1", "zero2", "zero3"])
    parser.add_argument("--offload", action="store_true")
    parser.add_argument("--tokens-per-batch", type=int, default=16384)
    parser.add_argument("--rows", type=int, default=20000, help="training rows; with merged tasks each is two examples")
    arguments = parser.parse_args()
    flops = measured_flops(tiny=arguments.tiny)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    title = f"{device}, {flops / 1e12:.2f} measured TFLOP/s, torch {torch.__version__}"
    columns = ("weights, billions", "tokens/s", "% of the rate", "peak GiB", "estimated GiB", "seconds in all")
    table = Table("job", *columns, title=title)
    for run in RUNS:
        job = make_job(run, arguments)
        with tempfile.TemporaryDirectory() as folder:
            record = measure(job, folder=Path(folder), rows=120 if arguments.tiny else arguments.rows)
        add_row(table, run, job, record, flops=flops)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
