"""What a plan's jobs take on the hardware that the configuration names: GPU hours and USD, by stated assumptions.

Floating-point operations are those of the matrix products: 6 for each weight and token trained, 2 for each one answered
(Kaplan et al. 2020, arXiv 2001.08361, section 2.1); 8 where activations are computed twice. Reckoned from the
configuration alone, without data or weights, so that a matrix of large models can be priced before anything is there.
The estimates are for budgets: right within a factor, not to the hour.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from taskmix.config.plan import Job, Plan
from taskmix.config.schema import (
    ApiModel,
    DatasetConfig,
    DecoderModel,
    EncoderModel,
    GeneratedDataset,
    Hardware,
    LinearModel,
    ModelConfig,
)
from taskmix.modeling.prompts import CHARACTERS_PER_TOKEN
from taskmix.training.model_shapes import scratch_shape, shape_of

SHARE_OF_PEAK = 0.35
"""Of a GPU's multiply rate that training and answering reach. Ours; 0.3 to 0.5 are told of well-tuned training."""
START_HOURS = 0.1
"""Of a step before it computes: node, image, weights. Ours."""
ANSWER_TOKENS = 12
"""Of an answer where labels do not tell: slots of one text, for instance. Ours: two slots of a few words."""
PROMPT_TOKENS = {"classification": 150, "slot_filling": 250}
"""Of a decoder's prompt besides its text: the instruction and some dozens of labels. Ours."""
KNOWN_DATASETS = {"massive": (11_514, 2_033, 2_974, 35), "20newsgroups": (10_183, 1_131, 7_532, 1_903)}
"""Rows of train, dev and test, and characters of a text: counted in MASSIVE 1.1 en-US and in bydate, raw."""
KNOWN_PARAMETERS = {"roberta-base": 125e6, "roberta-large": 355e6, "bert-base": 110e6, "all-minilm-l6": 23e6}
"""By what a checkpoint's name holds; models of other names say it themselves (`-8b`)."""


@dataclass(frozen=True)
class Estimate:
    """What one job takes.

    Attributes:
        gpu_hours: of all its GPUs together, training and evaluation.
        usd: of the nodes' time.
    """

    gpu_hours: float
    usd: float


def estimate_job(plan: Plan, job: Job) -> Estimate | str:
    """The job's estimate, or a few words on what is missing for one."""
    model = plan.config.models[job.model]
    if isinstance(model, ApiModel):
        return "paid by the token: taskmix run --dry-run"
    if isinstance(model, LinearModel):
        return "minutes of a CPU"
    hardware = plan.config.hardware.get(model.hardware or "")
    if hardware is None or not hardware.gpus or hardware.gpu_tflops is None:
        return "needs hardware with gpus and gpu_tflops"
    weights = parameters_of(model)
    if weights is None:
        return f"the size of {model.checkpoint} is not in its name"
    tokens = _tokens(plan, job, model)
    if tokens is None:
        return "the dataset's size is not known yet"
    trained, answered = tokens
    operations = 8.0 if isinstance(model, DecoderModel) and model.recipe.gradient_checkpointing else 6.0
    tuned = model.tuning != "none"
    training = _hours(operations * weights * trained, hardware, nodes=hardware.nodes) if tuned else 0.0
    evaluation = _hours(2.0 * weights * answered, hardware, nodes=1)
    nodes_hours = training * hardware.nodes + evaluation
    return Estimate(nodes_hours * hardware.gpus, nodes_hours * hardware.usd_per_hour)


def parameters_of(model: EncoderModel | DecoderModel) -> float | None:
    """Weights of the model, by its shape or by its checkpoint's name; null where neither tells."""
    if isinstance(model, DecoderModel) and (shape := shape_of(model)) is not None:
        return float(shape.parameters)
    if model.architecture is not None:
        return float(scratch_shape(model.architecture).parameters)
    name = str(model.checkpoint).lower()
    for known, weights in KNOWN_PARAMETERS.items():
        if known in name:
            return weights
    told = re.search(r"(?<![\d.])(\d+(?:\.\d+)?)b(?![a-z])", name)
    return float(told.group(1)) * 1e9 if told else None


def _hours(operations: float, hardware: Hardware, *, nodes: int) -> float:
    assert hardware.gpu_tflops is not None
    rate = hardware.gpu_tflops * 1e12 * SHARE_OF_PEAK * hardware.gpus * nodes
    return START_HOURS + operations / rate / 3600


def _tokens(plan: Plan, job: Job, model: EncoderModel | DecoderModel) -> tuple[float, float] | None:
    """Tokens that the job trains on, over all epochs, and that it reads to answer dev (each epoch) and test."""
    trained = answered = 0.0
    epochs = model.recipe.epochs if model.tuning != "none" else 0
    for name in plan.job_slice(job).datasets:
        size = dataset_size(plan.config.datasets[name])
        if size is None:
            return None
        train, dev, test, characters = size
        kinds = [plan.config.tasks[task].type for task in job.tasks if plan.config.tasks[task].dataset == name]
        for tokens in _example_tokens(model, kinds=kinds, characters=characters):
            trained += tokens * train * epochs
            answered += tokens * (dev * max(epochs, 1) + test)
    return trained, answered


def _example_tokens(model: ModelConfig, *, kinds: Sequence[str], characters: float) -> list[float]:
    """Tokens of each pass over a text: an encoder's one, a decoder's one a task."""
    assert isinstance(model, EncoderModel | DecoderModel)
    text = min(characters / CHARACTERS_PER_TOKEN, model.recipe.max_tokens)
    if isinstance(model, EncoderModel) or model.head == "classifier":
        return [text]
    shots = model.shots * (text + ANSWER_TOKENS)
    each = [min(text + shots + PROMPT_TOKENS[kind], model.recipe.max_tokens) + ANSWER_TOKENS for kind in kinds]
    return each if model.answers == "separate" else [sum(each) - text * (len(each) - 1)]


def dataset_size(dataset: DatasetConfig) -> tuple[float, float, float, float] | None:
    """Rows of train, dev and test, and characters of a text; null where only reading the data tells."""
    if isinstance(dataset, GeneratedDataset):
        rows: tuple[float, ...] = (dataset.train, dataset.dev, dataset.test, 40)
    elif dataset.format in KNOWN_DATASETS:
        rows = KNOWN_DATASETS[dataset.format]
    else:
        return None
    limits = (dataset.limit.train, dataset.limit.dev, dataset.limit.test)
    train, dev, test = (min(count, limit or count) for count, limit in zip(rows, limits, strict=False))
    return train, dev, test, rows[3]
