"""A decoder that is asked as it is (`tuning: none`): examples are drawn, probabilities calibrated, nothing is learnt.

Its bundle holds a copy of the checkpoint's files, so that it loads with nothing but itself, whatever becomes of the
checkpoint (docs/decisions/0012-bundles-of-decoders.md).
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import set_seed

from taskmix.config.plan import JobSlice
from taskmix.config.schema import DecoderModel
from taskmix.data.dataset import Row
from taskmix.modeling.answers import TaskHead
from taskmix.modeling.bundle import TrainingRecord
from taskmix.modeling.checkpoint import WANTED_FILES, checkpoint_folder
from taskmix.modeling.decoder import save_decoder
from taskmix.modeling.prompt_tokens import PromptTokens
from taskmix.modeling.prompts import PromptSet, TaskPrompt, make_prompts, write_prompts
from taskmix.modeling.shots import draw_shots, fit_shots
from taskmix.modeling.tokens import load_tokenizer
from taskmix.training.decoder_dev import ask_bundle, fit_raw
from taskmix.training.decoder_scratch import scratch_decoder


@dataclass(frozen=True)
class Calibrated:
    """What a bundle's card says of a decoder that is not tuned."""

    temperatures: dict[str, float]
    rejection_thresholds: dict[str, float]
    record: TrainingRecord


def prepare_untuned(
    job: JobSlice, *, train: Sequence[Row], dev: Sequence[Row], heads: Mapping[str, TaskHead], folder: Path
) -> Calibrated:
    """Write the model, its tokenizer and its prompts into `folder`; calibrate on dev.

    Args:
        job: the model's settings and the seed.
        train: rows that examples are drawn from.
        dev: rows that temperatures are fitted on, `decoder_dev.CALIBRATION_ROWS` a task at most.
        heads: task to its label space.
        folder: the bundle's, local.

    Raises:
        BundleError: the checkpoint cannot be loaded.
        TrainingError: a prompt leaves no room for the text.
    """
    settings = job.model
    assert isinstance(settings, DecoderModel)
    started = time.monotonic()
    prompts = make_prompts(heads, specs=job.tasks, joint=settings.answers == "joint")
    if settings.architecture is not None:
        set_seed(job.seed)
        texts = [row.text for row in train]
        module, tokenizer = scratch_decoder(settings.architecture, prompts=prompts, heads=heads, texts=texts)
        save_decoder(module, folder, tokenizer=tokenizer, prompts=prompts)
    else:
        assert settings.checkpoint is not None
        with checkpoint_folder(settings.checkpoint) as source:
            copy_checkpoint(source, folder)
    prompts = add_shots(prompts, train=train, tokenizer=load_tokenizer(folder), settings=settings, seed=job.seed)
    write_prompts(prompts, folder)
    asked = ask_bundle(folder, settings=settings, heads=heads, dev=dev)
    temperatures, thresholds = fit_raw(asked.answers, heads=heads)
    record = TrainingRecord(
        seconds=time.monotonic() - started, epochs=0.0, parameters=asked.parameters, precision=asked.precision
    )
    return Calibrated(temperatures, thresholds, record)


def add_shots(
    prompts: PromptSet, *, train: Sequence[Row], tokenizer: Any, settings: DecoderModel, seed: int
) -> PromptSet:
    """The prompts with their examples, as many as fit beside a text."""
    if not settings.shots:
        return prompts
    asker = PromptTokens(
        tokenizer, prompts=prompts, max_tokens=settings.recipe.max_tokens, chat=settings.chat, tuned=False
    )

    def with_shots(prompt: TaskPrompt) -> TaskPrompt:
        shots = draw_shots(train, prompt=prompt, count=settings.shots, seed=seed)
        room = settings.recipe.max_tokens - asker.overhead(prompt)
        fitting = fit_shots(prompt, shots, room=room, size=asker.size)
        return prompt.model_copy(update={"shots": fitting})

    return PromptSet(prompts=tuple(with_shots(prompt) for prompt in prompts.prompts))


def copy_checkpoint(source: Path, folder: Path) -> None:
    """Copy a checkpoint's configuration, tokenizer and safetensors."""
    for pattern in WANTED_FILES:
        for path in source.glob(pattern):
            shutil.copyfile(path, folder / path.name)
