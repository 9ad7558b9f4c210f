"""Fine-tuning an encoder: transformers' Trainer for the loop, ours for heads, mixtures, batches and dev scores.

The Trainer gives warm-up, decay, clipping, bf16, checkpoints with random-number state, and DeepSpeed where a launcher
sets it up. What differs from its defaults: batches by token budget, one loss a task, the best epoch by our dev score.
"""

from __future__ import annotations

import logging
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import EarlyStoppingCallback, PrinterCallback, Trainer, TrainerControl, TrainingArguments, set_seed

from taskmix.config.plan import JobSlice
from taskmix.config.schema import EncoderModel, EncoderRecipe
from taskmix.data.mixture import Mixture
from taskmix.errors import TrainingError
from taskmix.modeling.answers import TaskHead
from taskmix.modeling.bundle import EpochRecord, TrainingRecord
from taskmix.modeling.encoder import MultiTaskEncoder, load_weights, windows_of
from taskmix.modeling.tokens import tokenize
from taskmix.training.batches import IGNORED, BatchPlan, TokenizedMixture
from taskmix.training.build import build_encoder
from taskmix.training.checkpoints import PublishCheckpoints, restore_checkpoints
from taskmix.training.dev import DevSet, calibrate, dev_logits, dev_scores
from taskmix.training.progress import ProgressReport

logger = logging.getLogger(__name__)


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
    tokens = tokenize([row.text for row in train.rows], tokenizer=tokenizer, max_tokens=recipe.max_tokens)
    windows = windows_of(recipe, tokenizer=tokenizer)
    most = None if windows else recipe.max_tokens
    dev_tokens = tokenize([row.text for row in dev.rows], tokenizer=tokenizer, max_tokens=most)
    dev_set = DevSet(dev.rows, dev_tokens, windows)
    with tempfile.TemporaryDirectory(prefix="taskmix-train-") as folder:
        resume = restore_checkpoints(checkpoints, Path(folder))
        trainer = EncoderTrainer(
            module,
            job=job,
            dataset=TokenizedMixture(train, tokens, heads=heads),
            dev=dev_set,
            heads=heads,
            tokenizer=tokenizer,
            folder=folder,
            checkpoints=checkpoints,
        )
        trainer.train(resume_from_checkpoint=str(resume) if resume else None)
        if trainer.state.best_model_checkpoint:
            load_weights(module, Path(trainer.state.best_model_checkpoint) / "model.safetensors")
        history = read_history(trainer)
    module.eval()
    temperatures, thresholds = calibrate(
        module, dev=dev_set, heads=heads, tokenizer=tokenizer, device=trainer.args.device
    )
    record = TrainingRecord(
        seconds=time.monotonic() - started,
        epochs=float(trainer.state.epoch or 0.0),
        parameters=sum(weight.numel() for weight in module.parameters()),
        precision="bf16" if trainer.args.bf16 else "fp32",
        history=history,
    )
    return TrainedEncoder(module.cpu(), tokenizer, temperatures, thresholds, record)


class EncoderTrainer(Trainer):  # type: ignore[misc]  # transformers ships no types that mypy follows here
    """transformers' Trainer with our batches, losses, learning rates and dev score."""

    control: TrainerControl

    def __init__(
        self,
        module: MultiTaskEncoder,
        *,
        job: JobSlice,
        dataset: TokenizedMixture,
        dev: DevSet,
        heads: dict[str, TaskHead],
        tokenizer: Any,
        folder: str,
        checkpoints: str,
    ) -> None:
        assert isinstance(job.model, EncoderModel)
        self._recipe, self._dev, self._heads, self._tokenizer = job.model.recipe, dev, heads, tokenizer
        args = training_arguments(job.model.recipe, seed=job.seed, folder=folder)
        if args.n_gpu > 1:
            # The Trainer would split every batch over the GPUs in one process, which is slower than one GPU.
            logger.warning("training uses one of %d GPUs: start it with torchrun to use them all", args.n_gpu)
            args._n_gpu = 1
        self._plan = BatchPlan(
            dataset.lengths,
            sizes=dataset.sizes,
            epochs=self._recipe.epochs,
            tokens_per_batch=self._recipe.tokens_per_batch,
            temperature=self._recipe.temperature,
            seed=job.seed,
            processes=args.world_size,
            process=args.process_index,
        )
        args.warmup_steps = round(self._recipe.warmup_fraction * len(self._plan) * self._recipe.epochs)
        examples_per_step = len(dataset) / len(self._plan)
        callbacks = [PublishCheckpoints(checkpoints), ProgressReport(job.name, examples_per_step=examples_per_step)]
        if self._recipe.patience is not None:
            callbacks.append(EarlyStoppingCallback(early_stopping_patience=self._recipe.patience))
        super().__init__(model=module, args=args, train_dataset=dataset, eval_dataset=dataset, callbacks=callbacks)
        self.remove_callback(PrinterCallback)

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Batches of the plan; sharded by the plan itself, so accelerate has nothing to prepare."""
        dataset: TokenizedMixture = self.train_dataset
        pad_token_id = self._tokenizer.pad_token_id
        return PlannedLoader(
            dataset,
            batch_sampler=self._plan,
            collate_fn=lambda indices: dataset.collate(indices, pad_token_id=pad_token_id),
        )

    def create_optimizer(self, model: Any = None) -> Any:
        """AdamW with two learning rates, and no decay of biases and norms (the Trainer's own rule)."""
        decayed = set(self.get_decay_parameter_names(self.model))
        groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
        for name, weight in self.model.named_parameters():
            if weight.requires_grad:
                groups.setdefault((name.startswith("heads."), name in decayed), []).append(weight)
        head_rate = self._recipe.head_learning_rate or self._recipe.learning_rate
        self.optimizer = torch.optim.AdamW(
            [
                {
                    "params": weights,
                    "lr": head_rate if is_head else self._recipe.learning_rate,
                    "weight_decay": self._recipe.weight_decay if is_decayed else 0.0,
                }
                for (is_head, is_decayed), weights in groups.items()
            ],
            fused=True,
        )
        return self.optimizer

    def compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, **_: Any) -> Any:
        """The sum over tasks of the mean cross-entropy of their labelled texts (classification) or words (slots)."""
        logits = model(inputs["input_ids"], inputs["attention_mask"])
        loss = sum(
            (task_loss(logits[task], inputs["labels"][task]) for task in self._heads),
            start=torch.zeros((), device=inputs["input_ids"].device),
        )
        return (loss, logits) if return_outputs else loss

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Dev scores by task, and their mean as `eval_score`, which the best epoch is chosen by.

        Raises:
            TrainingError: the loss was not finite.
        """
        losses = [entry["loss"] for entry in self.state.log_history if "loss" in entry]
        if not np.isfinite(losses).all():
            raise TrainingError(
                f"the loss is not finite at step {self.state.global_step}: lower recipe.learning_rate "
                f"(now {self._recipe.learning_rate}) or recipe.clip_norm, or set recipe.precision to fp32"
            )
        logits = dev_logits(
            self.model, dev=self._dev, tokenizer=self._tokenizer, heads=self._heads, device=self.args.device
        )
        scores = dev_scores(logits, dev=self._dev, heads=self._heads)
        metrics = {f"eval_{task}": score for task, score in scores.items()}
        metrics["eval_score"] = float(np.mean(list(scores.values()))) if scores else 0.0
        self.log(dict(metrics))
        told = " ".join(f"{task}={score:.4f}" for task, score in scores.items())
        logger.info("dev epoch=%.1f loss=%.4f %s", self.state.epoch or 0.0, losses[-1] if losses else 0.0, told)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


class PlannedLoader(DataLoader[Any]):
    """A data loader that hands the epoch on to its plan."""

    def set_epoch(self, epoch: int) -> None:
        """Tell the plan which epoch comes next; the Trainer calls this."""
        assert isinstance(self.batch_sampler, BatchPlan)
        self.batch_sampler.set_epoch(epoch)


def training_arguments(recipe: EncoderRecipe, *, seed: int, folder: str) -> TrainingArguments:
    """The recipe in the Trainer's words."""
    by_steps = recipe.checkpoint_steps is not None
    return TrainingArguments(
        output_dir=folder,
        num_train_epochs=recipe.epochs,
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        max_grad_norm=recipe.clip_norm,
        lr_scheduler_type="linear",
        bf16=use_bf16(recipe.precision),
        use_cpu=not torch.cuda.is_available(),
        seed=seed,
        eval_strategy="epoch",
        save_strategy="steps" if by_steps else "epoch",
        save_steps=recipe.checkpoint_steps if by_steps else 500,
        save_total_limit=2,
        metric_for_best_model="score",
        greater_is_better=True,
        logging_strategy="steps",
        logging_steps=10,
        logging_nan_inf_filter=False,
        remove_unused_columns=False,
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=torch.cuda.is_available(),
    )


def use_bf16(precision: str) -> bool:
    """Whether to compute in bf16: asked for, or `auto` on a device that multiplies it natively."""
    if precision != "auto":
        return precision == "bf16"
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported())  # the one question torch answers of a CPU's bf16


def task_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy over labelled positions; 0, with a gradient, where there is none.

    Args:
        logits: (batch, labels) or (batch, tokens, tags).
        labels: (batch,) or (batch, tokens) int64, `IGNORED` where there is no label.
    """
    flat_NL, gold_N = logits.flatten(0, -2).float(), labels.flatten()
    total = nn.functional.cross_entropy(flat_NL, gold_N, ignore_index=IGNORED, reduction="sum")
    return total / (gold_N != IGNORED).sum().clamp(min=1)


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
