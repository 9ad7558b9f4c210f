"""The training loop that encoders and decoders share: transformers' Trainer with our batches, losses and dev scores.

The Trainer gives warm-up, decay, clipping, bf16, accumulation, checkpoints with random-number state, several processes
and DeepSpeed. What differs from its defaults: batches of a plan, the loss of an `Objective`, the best epoch by our dev
score, checkpoints on storage.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import transformers
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import EarlyStoppingCallback, PrinterCallback, Trainer, TrainerControl, TrainingArguments

from taskmix.config.schema import DecoderRecipe, EncoderRecipe
from taskmix.errors import TrainingError
from taskmix.modeling.bundle import EpochRecord, TrainingRecord
from taskmix.training.checkpoints import PublishCheckpoints, restore_checkpoints
from taskmix.training.processes import current_world, forget_peak_memory, peak_memory_gib
from taskmix.training.progress import ProgressReport

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Objective:
    """What a kind of model learns, and what it is judged by.

    Attributes:
        loss: of one batch, from the model and what the loader collated; its mean over processes and its sum over the
            forward passes of a step is the step's loss.
        dev_scores: task to its score on dev, higher is better, from the model in whatever mode it is.
        parameter_groups: the optimizer's groups, from the model and the names of its weights that decay.
    """

    loss: Callable[[Any, dict[str, Any]], Tensor]
    dev_scores: Callable[[Any], dict[str, float]]
    parameter_groups: Callable[[Any, Set[str]], list[dict[str, Any]]]


class PlannedBatches(Protocol):
    """Batches that are planned by epoch: `training.batches.BatchPlan`, or what wraps it."""

    def set_epoch(self, epoch: int) -> None:
        """Give the batches of `epoch` from the next iteration on."""
        ...


class PlannedLoader(DataLoader[Any]):
    """A data loader that hands the epoch on to its plan."""

    def set_epoch(self, epoch: int) -> None:
        """Tell the plan which epoch comes next; the Trainer calls this."""
        plan: Any = self.batch_sampler
        plan.set_epoch(epoch)


@dataclass(frozen=True)
class Course:
    """What a training run goes through.

    Attributes:
        name: the job's.
        loader: the batches; sharded by their plan, so accelerate has nothing to prepare.
        passes: batches of this process in one optimizer step.
        tokens_per_step: mean over the steps, all processes counted.
        examples_per_step: likewise.
        checkpoints: URI below which checkpoints lie.
        patience: epochs without a better dev score before it stops; null never stops.
    """

    name: str
    loader: PlannedLoader
    passes: int
    tokens_per_step: float
    examples_per_step: float
    checkpoints: str
    patience: int | None

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps."""
        return len(self.loader) // self.passes


class PlannedTrainer(Trainer):  # type: ignore[misc]  # transformers ships no types that mypy follows here
    """transformers' Trainer on a `Course`, for an `Objective`."""

    control: TrainerControl

    def __init__(self, module: Any, *, args: TrainingArguments, course: Course, objective: Objective) -> None:
        self._course, self._objective = course, objective
        # Where a process sees several GPUs, the Trainer would split every batch over them; each has its own process.
        args._n_gpu = min(args.n_gpu, 1)
        args.logging_steps = max(1, min(int(args.logging_steps), course.steps_per_epoch))  # every epoch tells its loss
        callbacks = [
            PublishCheckpoints(course.checkpoints, world=current_world()),
            ProgressReport(course.name, examples_per_step=course.examples_per_step),
        ]
        if course.patience is not None:
            callbacks.append(EarlyStoppingCallback(early_stopping_patience=course.patience))
        dataset = course.loader.dataset
        # A batch's loss is its share of the whole step's. Told that the loss has a function of its own, every Trainer
        # of 5.x leaves it so, and does not divide it by the passes of a step; what is called is `compute_loss` below.
        super().__init__(
            model=module,
            args=args,
            train_dataset=dataset,
            eval_dataset=dataset,
            callbacks=callbacks,
            compute_loss_func=objective.loss,
        )
        self.accelerator.gradient_accumulation_steps = 1  # before 5.6 accelerate divides the loss by the passes too
        self.remove_callback(PrinterCallback)

    def get_train_dataloader(self) -> DataLoader[Any]:
        """The course's batches."""
        return self._course.loader

    def create_optimizer(self, model: Any = None) -> Any:
        """AdamW on the objective's groups; biases and norms do not decay (the Trainer's own rule)."""
        decayed = set(self.get_decay_parameter_names(self.model))
        self.optimizer = torch.optim.AdamW(self._objective.parameter_groups(self.model, decayed), fused=True)
        return self.optimizer

    def compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, **_: Any) -> Any:
        """The objective's loss."""
        loss = self._objective.loss(model, inputs)
        return (loss, None) if return_outputs else loss

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Dev scores by task, and their mean as `eval_score`, which the best epoch is chosen by.

        Raises:
            TrainingError: the loss was not finite.
        """
        losses = [entry["loss"] for entry in self.state.log_history if "loss" in entry]
        if not np.isfinite(losses).all():
            raise TrainingError(
                f"the loss is not finite at step {self.state.global_step}: lower recipe.learning_rate "
                f"(now {self.args.learning_rate}) or recipe.clip_norm, or set recipe.precision to fp32"
            )
        was_training = self.model.training
        self.model.eval()
        scores = self._objective.dev_scores(self.model)
        self.model.train(was_training)
        metrics = {f"eval_{task}": score for task, score in scores.items()}
        metrics["eval_score"] = float(np.mean(list(scores.values()))) if scores else 0.0
        self.log(dict(metrics))
        told = " ".join(f"{task}={score:.4f}" for task, score in scores.items())
        if self.is_world_process_zero():
            logger.info("dev epoch=%.1f loss=%.4f %s", self.state.epoch or 0.0, losses[-1] if losses else 0.0, told)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


def train(trainer: PlannedTrainer, *, folder: Path, checkpoints: str) -> TrainingRecord:
    """Run the loop to its end, from the newest checkpoint where there is one.

    Args:
        trainer: ready to train.
        folder: the Trainer's own; checkpoints are fetched into it.
        checkpoints: URI below which checkpoints lie.
    """
    transformers.utils.logging.disable_progress_bar()
    forget_peak_memory()  # this process may have trained another job before
    resume = restore_checkpoints(checkpoints, folder, world=current_world())
    started = time.monotonic()
    first = _steps_done(resume)
    trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    seconds = time.monotonic() - started
    steps = trainer.state.global_step - first
    return TrainingRecord(
        seconds=seconds,
        epochs=float(trainer.state.epoch or 0.0),
        parameters=sum(getattr(weight, "ds_numel", weight.numel()) for weight in trainer.model.parameters()),
        precision="bf16" if trainer.args.bf16 else "fp32",
        tokens_per_s=steps * trainer._course.tokens_per_step / max(seconds, 1e-9),
        peak_memory_gib=peak_memory_gib(),
        history=read_history(trainer),
    )


def _steps_done(checkpoint: Path | None) -> int:
    return int(checkpoint.name.split("-")[1]) if checkpoint else 0


def training_arguments(
    recipe: EncoderRecipe | DecoderRecipe, *, seed: int, folder: Path, warmup_steps: int = 0, **special: Any
) -> TrainingArguments:
    """The recipe in the Trainer's words; `special` are words of its own that only one kind of model needs."""
    by_steps = recipe.checkpoint_steps is not None
    words: dict[str, Any] = {
        "output_dir": str(folder),
        "num_train_epochs": recipe.epochs,
        "learning_rate": recipe.learning_rate,
        "weight_decay": recipe.weight_decay,
        "max_grad_norm": recipe.clip_norm,
        "lr_scheduler_type": "linear",
        "warmup_steps": warmup_steps,
        "bf16": use_bf16(recipe.precision),
        "use_cpu": not torch.cuda.is_available(),
        "seed": seed,
        "eval_strategy": "epoch",
        "save_strategy": "steps" if by_steps else "epoch",
        "save_steps": recipe.checkpoint_steps if by_steps else 500,
        "save_total_limit": 2,
        "save_on_each_node": True,
        "metric_for_best_model": "score",
        "greater_is_better": True,
        "logging_strategy": "steps",
        "logging_steps": 10,
        "logging_nan_inf_filter": False,
        "remove_unused_columns": False,
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": torch.cuda.is_available(),
    }
    return TrainingArguments(**{**words, **special})


def use_bf16(precision: str) -> bool:
    """Whether to compute in bf16: asked for, or `auto` on a device that multiplies it natively."""
    if precision != "auto":
        return precision == "bf16"
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported())  # the one question torch answers of a CPU's bf16


def read_history(trainer: Trainer) -> tuple[EpochRecord, ...]:
    """One record an evaluation: mean loss since the one before, dev scores."""
    records, losses = [], []
    for entry in trainer.state.log_history:
        if "loss" in entry:
            losses.append(entry["loss"])
        if "eval_score" in entry:
            scores = {key.removeprefix("eval_"): value for key, value in entry.items() if key.startswith("eval_")}
            scores.pop("score")
            loss = float(np.mean(losses)) if losses else None
            records.append(EpochRecord(epoch=entry["epoch"], loss=loss, dev_scores=scores))
            losses = []
    return tuple(records)
