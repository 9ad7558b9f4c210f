"""How fast models are fine-tuned on this machine, of which rate, and in how much memory against the estimate.

    python benchmarks/gpu_training.py --shape llama-3-8b --tuning lora         # its true shapes and vocabulary
    python benchmarks/gpu_training.py --shape llama-3-8b --tuning full --layers 4        # as many layers as fit
    python benchmarks/gpu_training.py --shape llama-3-8b --tuning full --deepspeed zero3 --offload
    python benchmarks/gpu_training.py --shape roberta-large --massive en-US.jsonl --newsgroups 20news-bydate.tar.gz
    python benchmarks/gpu_training.py --tiny                                   # seconds, on a CPU: that it runs

Each run is a whole job on generated utterances, or on real data given by path, single (one task) and merged (both):
batches, dev scores, checkpoint, weights written and verified. Weights are random (`training_parts`). Figures are those
of the bundle's own record. The share of the rate counts what the layers' matrices multiply, forward and backward, once:
neither embeddings, attention's products and logits, nor activations that are computed again. Needs torch and
transformers, and neither kfp nor kserve.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from taskmix import storage
from taskmix.config.plan import DatasetSlice, JobSlice
from taskmix.config.schema import DecoderModel
from taskmix.data.dataset import load_dataset
from taskmix.data.ingest import ingest, source_version
from taskmix.modeling.bundle import TrainingRecord, read_card
from taskmix.training.job import finetune
from taskmix.training.memory import estimate
from taskmix.training.model_shapes import shape_of
from taskmix.training.processes import release_memory

sys.path.insert(0, str(Path(__file__).resolve().parent / "training_parts"))

from random_checkpoints import Shape, published_shape, write_checkpoint

FLOPS_A_WEIGHT = {"full": 6, "lora": 4}
"""Operations of a step, a weight and token: 6 by Kaplan et al. 2020 (arXiv 2001.08361, section 2.1); LoRA needs no
gradients of frozen weights."""
LEARNING_RATES = {"decoder": 1e-5, "encoder": 5e-5}


@dataclass(frozen=True)
class Source:
    """Data to learn from, and its two tasks: each alone and both are a job."""

    name: str
    dataset: dict[str, Any]
    tasks: dict[str, dict[str, Any]]


def sources(arguments: argparse.Namespace) -> Iterator[Source]:
    """The real data that were given, else generated utterances."""
    if arguments.massive:
        yield _source(
            "massive",
            {"format": "massive", "uri": arguments.massive},
            intent={"type": "classification", "label": "intent"},
            slots={"type": "slot_filling", "annotation": "annot_utt"},
        )
    if arguments.newsgroups:
        yield _source(
            "20 newsgroups",
            {"format": "20newsgroups", "uri": arguments.newsgroups},
            topic20={"type": "classification", "label": "group"},
            topic7={"type": "classification", "label": "area"},
        )
    if not (arguments.massive or arguments.newsgroups):
        train, dev = (60, 20) if arguments.tiny else (arguments.rows, 200)
        yield _source(
            "generated",
            {"format": "generated", "train": train, "dev": dev, "test": 20},
            intent={"type": "classification", "label": "intent"},
            slots={"type": "slot_filling", "annotation": "slots"},
        )


def _source(name: str, dataset: dict[str, Any], **tasks: dict[str, Any]) -> Source:
    return Source(name, dataset, {task: {**spec, "dataset": "texts"} for task, spec in tasks.items()})


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
    del left, right, product
    release_memory()
    return 2 * size**3 / best


def make_job(shape: Shape, tasks: dict[str, Any], *, checkpoint: Path, arguments: argparse.Namespace) -> JobSlice:
    """One job of `tasks` on the model in the folder `checkpoint`."""
    recipe: dict[str, Any] = {
        "epochs": arguments.epochs,
        "tokens_per_batch": 1024 if arguments.tiny else arguments.tokens_per_batch,
        "max_tokens": 512,
        "learning_rate": arguments.learning_rate or LEARNING_RATES[shape.kind],
        "precision": "auto" if torch.cuda.is_available() else "fp32",
    }
    model: dict[str, Any] = {"kind": shape.kind, "checkpoint": str(checkpoint)}
    if shape.kind == "decoder":
        model["tuning"] = arguments.tuning
        recipe["gradient_checkpointing"] = not arguments.tiny
        if arguments.deepspeed:
            recipe |= {"deepspeed": arguments.deepspeed, "offload": arguments.offload}
    model["recipe"] = recipe
    return JobSlice.model_validate({"model_name": "measured", "seed": 13, "model": model, "tasks": tasks})


def prepare_data(source: Source, *, root: str) -> tuple[str, list[str]]:
    """The ingested dataset's URI, and train's texts."""
    part = {"name": "texts", "seed": 13, "dataset": source.dataset, "tasks": source.tasks}
    dataset = DatasetSlice.model_validate(part)
    uri = ingest(dataset, storage=root, version=source_version(dataset))
    with storage.local_copy(uri) as folder:
        return uri, [row.text for row in load_dataset(folder).rows("train")]


def measure(job: JobSlice, *, dataset: str) -> TrainingRecord:
    """Train `job`; what its bundle says of the training, after which the bundle is thrown away."""
    with tempfile.TemporaryDirectory() as folder:
        return read_card(Path(finetune(job, datasets=[dataset], storage=folder)) / "bundle").training


def figures(record: TrainingRecord, *, job: JobSlice, shape: Shape, flops: float) -> list[str]:
    """The cells of one job."""
    gpus = max(1, torch.cuda.device_count())
    expected = ""
    if isinstance(job.model, DecoderModel):
        known = shape_of(job.model)
        assert known is not None
        expected = f"{estimate(job.model, shape=known, gpus=gpus).total_gib:.1f}"
    rate = record.tokens_per_s or 0.0
    used = FLOPS_A_WEIGHT[job.model.tuning] * shape.multiplied * rate / gpus / flops
    scores = record.history[-1].dev_scores if record.history else {}
    return [
        f"{record.parameters / 1e6:,.1f}",
        f"{rate:,.0f}",
        f"{100 * used:.1f}",
        f"{record.peak_memory_gib or 0.0:.1f}",
        expected,
        ", ".join(f"{task} {score:.3f}" for task, score in scores.items()),
        f"{record.seconds:.0f}",
    ]


def measure_source(source: Source, arguments: argparse.Namespace, *, table: Table, flops: float) -> None:
    """Every shape's single and merged job on one dataset, a row of the table each."""
    with tempfile.TemporaryDirectory() as name:
        dataset, texts = prepare_data(source, root=str(Path(name) / "storage"))
        for shape_name in arguments.shape:
            shape = published_shape(shape_name, layers=arguments.layers, tiny=arguments.tiny)
            checkpoint = write_checkpoint(Path(name) / shape_name, shape, texts=texts)
            for tasks in (dict(list(source.tasks.items())[:1]), source.tasks):
                job = make_job(shape, tasks, checkpoint=checkpoint, arguments=arguments)
                record = measure(job, dataset=dataset)
                cells = figures(record, job=job, shape=shape, flops=flops)
                table.add_row(shape_name, job.model.tuning, source.name, "+".join(tasks), *cells)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="2 layers, 32 wide, with the true vocabularies; few rows")
    parser.add_argument("--shape", nargs="+", default=["llama-3-8b", "roberta-large"])
    parser.add_argument("--layers", type=int, help="of the shape's layers, only so many")
    parser.add_argument("--tuning", choices=list(FLOPS_A_WEIGHT), default="lora", help="of decoders; encoders: full")
    parser.add_argument("--deepspeed", choices=["zero1", "zero2", "zero3"])
    parser.add_argument("--offload", action="store_true")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--tokens-per-batch", type=int, default=16384)
    parser.add_argument("--rows", type=int, default=20000, help="generated; with merged tasks each is two examples")
    parser.add_argument("--massive", help="en-US.jsonl or the archive of MASSIVE 1.1, instead of generated rows")
    parser.add_argument("--newsgroups", help="20news-bydate.tar.gz, likewise")
    arguments = parser.parse_args()
    flops = measured_flops(tiny=arguments.tiny)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    title = f"{device}, {flops / 1e12:.2f} measured TFLOP/s, torch {torch.__version__}"
    columns = ("weights, millions", "tokens/s", "% of the rate", "peak GiB", "estimated GiB", "dev", "seconds in all")
    table = Table("shape", "tuning", "data", "tasks", *columns, title=title)
    for source in sources(arguments):
        measure_source(source, arguments, table=table, flops=flops)
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
