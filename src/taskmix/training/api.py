"""What there is to prepare of a model that is asked over HTTP: its prompts, with the examples drawn from train."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from taskmix.config.plan import JobSlice
from taskmix.config.schema import ApiModel
from taskmix.data.dataset import Row
from taskmix.modeling.answers import TaskHead
from taskmix.modeling.api.request import room_for_text
from taskmix.modeling.bundle import TrainingRecord
from taskmix.modeling.prompts import PromptSet, TaskPrompt, make_prompts, write_prompts
from taskmix.modeling.shots import draw_shots, fit_shots

UNTRAINED = TrainingRecord(seconds=0.0, epochs=0.0, parameters=0, precision="the endpoint's")
"""Of a bundle that holds no weights."""


@dataclass(frozen=True)
class PreparedApi:
    """What preparing an API model comes to for its bundle's card: nothing was trained, and nothing is calibrated."""

    temperatures: dict[str, float]
    rejection_thresholds: dict[str, float]
    record: TrainingRecord


def prepare_api(job: JobSlice, *, train: Sequence[Row], heads: Mapping[str, TaskHead], folder: Path) -> PreparedApi:
    """Write the job's prompts into `folder`; see `draw_prompts`."""
    write_prompts(draw_prompts(job, train=train, heads=heads), folder)
    return PreparedApi(dict.fromkeys(heads, 1.0), {}, UNTRAINED)


def draw_prompts(job: JobSlice, *, train: Sequence[Row], heads: Mapping[str, TaskHead]) -> PromptSet:
    """The job's prompts, each with its examples, as they will be asked.

    Args:
        job: the model's settings and the seed.
        train: rows that examples are drawn from.
        heads: task to its label space.

    Raises:
        TrainingError: a prompt leaves no room for the text.
    """
    assert isinstance(job.model, ApiModel)
    prompts = make_prompts(heads, specs=job.tasks, joint=job.model.answers == "joint")
    return PromptSet(
        prompts=tuple(_with_shots(prompt, train=train, settings=job.model, seed=job.seed) for prompt in prompts.prompts)
    )


def _with_shots(prompt: TaskPrompt, *, train: Sequence[Row], settings: ApiModel, seed: int) -> TaskPrompt:
    room = room_for_text(prompt, settings=settings)
    shots = draw_shots(train, prompt=prompt, count=settings.shots, seed=seed)
    asked = prompt.model_copy(update={"shots": fit_shots(prompt, shots, room=room, size=len)})
    room_for_text(asked, settings=settings)
    return asked
