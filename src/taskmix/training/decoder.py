"""Fine-tuning a decoder on prompts with answers: full or LoRA, in one process or in many, with DeepSpeed's ZeRO or not.

The loop is `training.loop`'s. Here are a decoder's examples, its loss on answers only (`training.packing`), its dev
scores, and the way from the best checkpoint to whole weights (`training.consolidation`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import TrainingArguments, set_seed

from taskmix.config.plan import JobSlice
from taskmix.config.schema import DecoderModel, DecoderRecipe
from taskmix.data.dataset import Row
from taskmix.data.mixture import Mixture
from taskmix.errors import TrainingError
from taskmix.modeling.answers import TaskHead
from taskmix.modeling.bundle import TrainingRecord
from taskmix.modeling.prompt_tokens import PromptTokens
from taskmix.modeling.prompts import make_prompts, write_prompts
from taskmix.training.batches import BatchPlan, pack_epoch
from taskmix.training.consolidation import probe_logits, probe_row, verify_weights, write_weights
from taskmix.training.decoder_build import build_decoder, recompute_activations
from taskmix.training.decoder_dev import ask_bundle, fit_raw
from taskmix.training.decoder_scores import answered_scores, likelihoods
from taskmix.training.loop import (
    Course,
    Objective,
    PlannedLoader,
    PlannedTrainer,
    training_arguments,
    use_bf16,
)
from taskmix.training.loop import train as run
from taskmix.training.lora import add_lora, merge_lora
from taskmix.training.packing import packed_loss
from taskmix.training.processes import World, current_world, node_folder, release_memory
from taskmix.training.prompted import PromptedMixture, WeightedPlan
from taskmix.training.zero import connect, zero_config

END_OF_RATE = 0.1
"""Share of the peak learning rate that the cosine ends at (Touvron et al. 2023, arXiv 2302.13971, section 2.3)."""


@dataclass(frozen=True)
class TrainedDecoder:
    """What the card of a decoder's bundle says of its training; in the first process only."""

    temperatures: dict[str, float]
    rejection_thresholds: dict[str, float]
    record: TrainingRecord


def fit_decoder(
    folder: Path, job: JobSlice, *, train: Mixture, dev: Mixture, heads: dict[str, TaskHead], checkpoints: str
) -> TrainedDecoder:
    """Fine-tune the decoder of `job`, write weights, tokenizer and prompts into `folder`, and calibrate them on dev.

    A run that died goes on from its newest checkpoint, to the same weights. Of several processes the first writes.

    Args:
        folder: the bundle's.
        job: model, recipe, tasks and seed.
        train: the rows to learn from.
        dev: the rows that choose the best epoch and calibrate.
        heads: task to its label space.
        checkpoints: URI below which checkpoints lie.

    Raises:
        TrainingError: the loss is not finite, the recipe does not fit the model, or the weights written are not those
            trained.
        BundleError: the pretrained checkpoint cannot be loaded.
    """
    assert isinstance(job.model, DecoderModel)
    settings, started = job.model, time.monotonic()
    args = decoder_arguments(settings.recipe, seed=job.seed)  # connects the processes, so it comes first
    prompts = make_prompts(heads, specs=job.tasks, joint=settings.answers == "joint")
    texts = [row.text for row in train.rows]
    build = partial(build_decoder, settings, prompts=prompts, heads=heads, texts=texts, bf16=args.bf16)
    with node_folder(current_world()) as scratch:
        args.output_dir = str(scratch)
        set_seed(job.seed)
        module, tokenizer = build()
        asker = PromptTokens(
            tokenizer, prompts=prompts, max_tokens=settings.recipe.max_tokens, chat=settings.chat, tuned=True
        )
        mixture = PromptedMixture(train.rows, asker=asker, heads=heads)
        course = decoder_course(job, mixture=mixture, checkpoints=checkpoints)
        args.warmup_steps = round(settings.recipe.warmup_fraction * course.steps_per_epoch * settings.recipe.epochs)
        objective = decoder_objective(settings, rows=dev.rows, asker=asker, heads=heads, device=args.device)
        trainer = PlannedTrainer(prepare(module, settings), args=args, course=course, objective=objective)
        record = run(trainer, folder=scratch, checkpoints=checkpoints)
        row = probe_row(mixture.examples)
        expected_NV = probe_logits(trainer.model, row, device=args.device)
        best = Path(trainer.state.best_model_checkpoint or scratch)
        del trainer, module
        release_memory()
        if not current_world().leads:
            return TrainedDecoder({}, {}, record)
        write_weights(whole_model(settings, best, build=partial(_rebuild, build, seed=job.seed)), folder)
        verify_weights(folder, row=row, expected_NV=expected_NV, bf16=args.bf16)
    tokenizer.save_pretrained(folder)
    write_prompts(prompts, folder)
    asked = ask_bundle(folder, settings=settings, heads=heads, dev=dev.rows)
    temperatures, thresholds = fit_raw(asked.answers, heads=heads)
    record = record.model_copy(update={"seconds": time.monotonic() - started})
    return TrainedDecoder(temperatures, thresholds, record)


def prepare(module: Any, settings: DecoderModel) -> Any:
    """The model as it trains: activations recomputed, adapters added, as the recipe says."""
    if settings.recipe.gradient_checkpointing:
        recompute_activations(module)
    return add_lora(module, settings.recipe.lora) if settings.tuning == "lora" else module


def decoder_arguments(recipe: DecoderRecipe, *, seed: int) -> TrainingArguments:
    """The recipe in the Trainer's words; DeepSpeed is set up where the recipe asks for it."""
    passes = step_passes(recipe, world=current_world())
    special: dict[str, Any] = {
        "lr_scheduler_type": "cosine_with_min_lr",
        "lr_scheduler_kwargs": {"min_lr_rate": END_OF_RATE},
        "gradient_accumulation_steps": passes,
        "per_device_train_batch_size": 1,
        "ddp_find_unused_parameters": False,
    }
    if recipe.deepspeed:
        connect()
        special["deepspeed"] = zero_config(recipe, bf16=use_bf16(recipe.precision), passes=passes)
    args = training_arguments(recipe, seed=seed, folder=Path(), **special)
    # Told to the constructor, it would insist that checkpoints are written by epochs too.
    args.load_best_model_at_end = True
    return args


def step_passes(recipe: DecoderRecipe, *, world: World) -> int:
    """Forward passes of each process in one optimizer step."""
    share = -(-recipe.tokens_per_batch // world.size)
    return -(-share // min(share, recipe.tokens_per_forward or share))


def decoder_course(job: JobSlice, *, mixture: PromptedMixture, checkpoints: str) -> Course:
    """The packed batches of `job`.

    Raises:
        TrainingError: no row makes an example.
    """
    assert isinstance(job.model, DecoderModel)
    recipe, world = job.model.recipe, current_world()
    if not len(mixture):
        raise TrainingError(
            f"job {job.name}: no row of train has labels of all tasks of a prompt; "
            f"set models.{job.model_name}.answers to separate"
        )
    passes = step_passes(recipe, world=world)
    plan = BatchPlan(
        mixture.lengths,
        sizes=mixture.sizes,
        epochs=recipe.epochs,
        tokens_per_batch=recipe.tokens_per_batch,
        temperature=recipe.temperature,
        seed=job.seed,
        cut=pack_epoch,
        passes=passes,
        processes=world.size,
        process=world.rank,
    )
    steps = len(plan) // passes
    return Course(
        name=job.name,
        loader=PlannedLoader(
            mixture,
            batch_sampler=WeightedPlan(plan),
            collate_fn=mixture.collate,
            pin_memory=torch.cuda.is_available(),
        ),
        passes=passes,
        tokens_per_step=float(mixture.lengths.sum()) / steps,
        examples_per_step=len(mixture) / steps,
        checkpoints=checkpoints,
        patience=recipe.patience,
    )


def decoder_objective(
    settings: DecoderModel,
    *,
    rows: Sequence[Row],
    asker: PromptTokens,
    heads: dict[str, TaskHead],
    device: torch.device,
) -> Objective:
    """The loss on answers, the score on the dev `rows`, and one learning rate."""
    world, recipe = current_world(), settings.recipe

    def loss(model: Any, row: dict[str, Any]) -> Tensor:
        return packed_loss(model, row) * world.size  # gradients are averaged over processes, and weights are shares

    scores: Callable[[Any], dict[str, float]]
    if recipe.deepspeed == "zero3":
        dev = PromptedMixture(rows, asker=asker, heads=heads)
        tokens = recipe.tokens_per_forward or recipe.tokens_per_batch // world.size
        scores = partial(likelihoods, dev=dev, tokens_per_forward=tokens, device=device, world=world)
    else:
        scores = partial(answered_scores, rows=rows, asker=asker, heads=heads, settings=settings, world=world)
    return Objective(loss, scores, partial(one_rate, recipe=recipe))


def one_rate(module: nn.Module, decayed: Set[str], *, recipe: DecoderRecipe) -> list[dict[str, Any]]:
    """The optimizer's groups: weights that decay, and those that don't."""
    weights = [(name, weight) for name, weight in module.named_parameters() if weight.requires_grad]
    groups = [
        {"params": [weight for name, weight in weights if name in decayed], "weight_decay": recipe.weight_decay},
        {"params": [weight for name, weight in weights if name not in decayed], "weight_decay": 0.0},
    ]
    return [{**group, "lr": recipe.learning_rate} for group in groups if group["params"]]


def whole_model(model: DecoderModel, best: Path, *, build: Callable[[], Any]) -> Any:
    """The model of the best checkpoint on the CPU, every weight whole, LoRA merged into the weights that it adapts."""
    from transformers import AutoModelForCausalLM
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    unset_hf_deepspeed_config()  # transformers would spread what this process loads alone over all
    if model.tuning != "lora":
        return AutoModelForCausalLM.from_pretrained(best, use_safetensors=True, dtype="auto")
    return merge_lora(build(), best)


def _rebuild(build: Callable[[], tuple[Any, Any]], *, seed: int) -> Any:
    """The model as it was before training, which LoRA's checkpoints leave out."""
    set_seed(seed)
    return build()[0]
