"""Fine-tuning an encoder: its heads, its mixture's batches, the loss of each task. The loop is `training.loop`'s."""

from __future__ import annotations

import time
from collections.abc import Set
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import set_seed

from taskmix.config.plan import JobSlice
from taskmix.config.schema import EncoderModel, EncoderRecipe
from taskmix.data.mixture import Mixture
from taskmix.modeling.answers import TaskHead
from taskmix.modeling.bundle import TrainingRecord
from taskmix.modeling.encoder import MultiTaskEncoder, load_weights, windows_of
from taskmix.modeling.tokens import tokenize
from taskmix.training.batches import IGNORED, BatchPlan, TokenizedMixture
from taskmix.training.build import build_encoder
from taskmix.training.dev import DevSet, calibrate, dev_logits, dev_scores
from taskmix.training.loop import Course, Objective, PlannedLoader, PlannedTrainer, training_arguments
from taskmix.training.loop import train as run
from taskmix.training.processes import current_world, node_folder, wait_for_all


@dataclass(frozen=True)
class TrainedEncoder:
    """What fine-tuning an encoder comes to: all that its bundle is made of."""

    module: MultiTaskEncoder
    tokenizer: Any
    temperatures: dict[str, float]
    rejection_thresholds: dict[str, float]
    record: TrainingRecord


def fit_encoder(
    job: JobSlice, *, train: Mixture, dev: Mixture, heads: dict[str, TaskHead], checkpoints: str
) -> TrainedEncoder:
    """Fine-tune the encoder of `job`; a run that died goes on from its newest checkpoint, to the same weights.

    Args:
        job: model, recipe, tasks and seed.
        train: the rows to learn from.
        dev: the rows that choose the best epoch and calibrate.
        heads: task to its label space.
        checkpoints: URI below which checkpoints lie.

    Raises:
        TrainingError: the loss is not finite, or the recipe does not fit the model.
        BundleError: the pretrained checkpoint cannot be loaded.
    """
    assert isinstance(job.model, EncoderModel)
    recipe = job.model.recipe
    started = time.monotonic()
    set_seed(job.seed)
    module, tokenizer = build_encoder(job.model, heads=heads, texts=[row.text for row in train.rows])
    texts_of = partial(tokenize, tokenizer=tokenizer, pooling=job.model.pooling)
    tokens = texts_of([row.text for row in train.rows], max_tokens=recipe.max_tokens)
    windows = windows_of(recipe, tokenizer=tokenizer)
    most = None if windows else recipe.max_tokens
    dev_set = DevSet(dev.rows, texts_of([row.text for row in dev.rows], max_tokens=most), windows)
    dataset = TokenizedMixture(train, tokens, heads=heads)
    args = training_arguments(recipe, seed=job.seed, folder=Path())  # connects the processes, so it comes first
    with node_folder(current_world()) as folder:
        args.output_dir = str(folder)
        course = encoder_course(job, dataset=dataset, tokenizer=tokenizer, checkpoints=checkpoints)
        args.warmup_steps = round(recipe.warmup_fraction * course.steps_per_epoch * recipe.epochs)
        objective = encoder_objective(recipe, dev=dev_set, heads=heads, tokenizer=tokenizer, device=args.device)
        trainer = PlannedTrainer(module, args=args, course=course, objective=objective)
        record = run(trainer, folder=folder, checkpoints=checkpoints)
        if trainer.state.best_model_checkpoint:
            load_weights(module, Path(trainer.state.best_model_checkpoint) / "model.safetensors")
        wait_for_all()  # the first process takes the folder away
    module.eval()
    temperatures, thresholds = calibrate(
        module, dev=dev_set, heads=heads, tokenizer=tokenizer, device=trainer.args.device
    )
    record = record.model_copy(update={"seconds": time.monotonic() - started})
    return TrainedEncoder(module.cpu(), tokenizer, temperatures, thresholds, record)


def encoder_course(job: JobSlice, *, dataset: TokenizedMixture, tokenizer: Any, checkpoints: str) -> Course:
    """The batches of `job`, rows of like length together."""
    assert isinstance(job.model, EncoderModel)
    recipe, world = job.model.recipe, current_world()
    plan = BatchPlan(
        dataset.lengths,
        sizes=dataset.sizes,
        epochs=recipe.epochs,
        tokens_per_batch=recipe.tokens_per_batch,
        temperature=recipe.temperature,
        seed=job.seed,
        processes=world.size,
        process=world.rank,
    )
    collate = partial(dataset.collate, pad_token_id=tokenizer.pad_token_id)
    return Course(
        name=job.name,
        loader=PlannedLoader(dataset, batch_sampler=plan, collate_fn=collate, pin_memory=torch.cuda.is_available()),
        passes=1,
        tokens_per_step=float(dataset.lengths.sum()) / len(plan),
        examples_per_step=len(dataset) / len(plan),
        checkpoints=checkpoints,
        patience=recipe.patience,
    )


def encoder_objective(
    recipe: EncoderRecipe, *, dev: DevSet, heads: dict[str, TaskHead], tokenizer: Any, device: torch.device
) -> Objective:
    """The sum of the tasks' losses, their scores on dev, and two learning rates."""

    def loss(model: Any, inputs: dict[str, Any]) -> Tensor:
        """The sum over tasks of the mean cross-entropy of their labelled texts (classification) or words (slots)."""
        logits = model(inputs["input_ids"], inputs["attention_mask"])
        return sum(
            (task_loss(logits[task], inputs["labels"][task]) for task in heads),
            start=torch.zeros((), device=inputs["input_ids"].device),
        )

    def scores(model: Any) -> dict[str, float]:
        logits = dev_logits(model, dev=dev, tokenizer=tokenizer, heads=heads, device=device)
        return dev_scores(logits, dev=dev, heads=heads)

    return Objective(loss, scores, partial(two_rates, recipe=recipe))


def two_rates(module: nn.Module, decayed: Set[str], *, recipe: EncoderRecipe) -> list[dict[str, Any]]:
    """The optimizer's groups: backbone and heads, each with and without decay."""
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, weight in module.named_parameters():
        if weight.requires_grad:
            groups.setdefault((name.startswith("heads."), name in decayed), []).append(weight)
    head_rate = recipe.head_learning_rate or recipe.learning_rate
    return [
        {
            "params": weights,
            "lr": head_rate if is_head else recipe.learning_rate,
            "weight_decay": recipe.weight_decay if is_decayed else 0.0,
        }
        for (is_head, is_decayed), weights in groups.items()
    ]


def task_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy over labelled positions; 0, with a gradient, where there is none.

    Args:
        logits: (batch, labels) or (batch, tokens, tags).
        labels: (batch,) or (batch, tokens) int64, `IGNORED` where there is no label.
    """
    flat_NL, gold_N = logits.flatten(0, -2).float(), labels.flatten()
    total = nn.functional.cross_entropy(flat_NL, gold_N, ignore_index=IGNORED, reduction="sum")
    return total / (gold_N != IGNORED).sum().clamp(min=1)
