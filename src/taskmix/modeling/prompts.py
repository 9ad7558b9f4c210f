"""What a language model is asked, in words: shared by decoders (tuned or not) and by API models.

A `TaskPrompt` is all that decides the words around a text: the filled header (instruction and label or slot list), the
template of the question, and the examples (shots). `make_prompts` makes those of a job once; the bundle keeps them as
JSON (`PromptSet`), so that it asks tomorrow what it was trained on today, whatever the packaged templates say then.

    prompt = task_prompt.ask(text)      # a Prompt: header, shots, question
    prompt.messages()                   # chat: system, user/assistant ..., user
    prompt.plain()                      # one string; the answer follows after a blank

How answers are written and read is `answer_format`'s part; tokens, cutting of long texts and chat templates are
`prompt_tokens`'s; drawing examples from train is `shots`'s. Templates are data: `prompts.yaml`, overridden per task by
`tasks.<task>.instruction` and `tasks.<task>.prompt`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Literal

import yaml
from pydantic import ValidationError

from taskmix.config.schema import Name, Section, TaskConfig
from taskmix.data.schema import Span
from taskmix.errors import BundleError, DataError
from taskmix.modeling.answer_format import confusable_slots, write_joint, write_label, write_spans
from taskmix.modeling.answers import TaskHead

PROMPTS_FILE = "prompts.json"
CHARACTERS_PER_TOKEN = 4.0
"""Where no tokenizer is at hand: OpenAI's rule of thumb for English (help.openai.com, "What are tokens and how to count
them?")."""
BLANK_LINE = "\n\n"
"""Parts header, examples and question of a prompt without chat turns; ends the answer of each example."""


@dataclass(frozen=True)
class Prompt:
    """One text, asked.

    Attributes:
        header: instruction and labels; empty where the template has none.
        shots: question and answer of each example.
        question: the text's own question; its answer follows after a blank.
    """

    header: str
    shots: tuple[tuple[str, str], ...]
    question: str

    def messages(self, *, system: bool = True) -> list[dict[str, str]]:
        """As chat messages, the last one the user's; the header leads the first of the user's where not `system`."""
        turns = [("user", self.question)]
        for question, answer in reversed(self.shots):
            turns[:0] = [("user", question), ("assistant", answer)]
        if self.header and system:
            turns.insert(0, ("system", self.header))
        elif self.header:
            turns[0] = ("user", self.header + BLANK_LINE + turns[0][1])
        return [{"role": role, "content": content} for role, content in turns]

    def plain(self) -> str:
        """As one string."""
        answered = [f"{question} {answer}" for question, answer in self.shots]
        return BLANK_LINE.join(part for part in (self.header, *answered, self.question) if part)


class Shot(Section):
    """An example in a prompt: a text and the right answer to each task asked of it."""

    text: str
    answers: dict[Name, str | tuple[Span, ...]]


class TaskPrompt(Section):
    """How one task is asked, or how the tasks of one dataset are asked at once.

    Attributes:
        tasks: one task, or several that are answered jointly, in the order of the answer.
        types: of each of `tasks`.
        header: instruction and labels, filled in.
        question: template with `{text}`.
        shots: examples, in the order that they are shown.
    """

    tasks: tuple[Name, ...]
    types: tuple[Literal["classification", "slot_filling"], ...]
    header: str
    question: str
    shots: tuple[Shot, ...] = ()

    @property
    def joint(self) -> bool:
        """Whether several tasks are answered at once."""
        return len(self.tasks) > 1

    def ask(self, text: str, *, shots: Sequence[Shot] | None = None) -> Prompt:
        """The prompt for a text, with other `shots` than the prompt's own where given."""
        shown = [(self._question(shot.text), self.answer(shot)) for shot in (self.shots if shots is None else shots)]
        return Prompt(self.header, tuple(shown), self._question(text))

    def answer(self, shot: Shot) -> str:
        """The right answer to an example, as the model is to write it."""
        if self.joint:
            return write_joint(shot.answers, tasks=self.tasks, text=shot.text)
        label = shot.answers[self.tasks[0]]
        return write_label(label) if isinstance(label, str) else write_spans(label, text=shot.text)

    def _question(self, text: str) -> str:
        before, after = self.question.split("{text}")
        return before.format() + text + after.format()


class PromptSet(Section):
    """Every prompt of a job: the content of `prompts.json`. Each task stands in exactly one of `prompts`."""

    format: Literal[1] = 1
    prompts: tuple[TaskPrompt, ...]

    def of(self, task: str) -> TaskPrompt:
        """The prompt that answers `task`."""
        return next(prompt for prompt in self.prompts if task in prompt.tasks)


def make_prompts(heads: Mapping[str, TaskHead], *, specs: Mapping[str, TaskConfig], joint: bool = False) -> PromptSet:
    """The prompts of a job, without examples: one a task, or one a dataset where its tasks are answered jointly.

    Args:
        heads: the job's tasks, with the labels that are listed.
        specs: the tasks' configuration: instruction and template.
        joint: answer all tasks of a dataset at once; its classification tasks come first.
    """
    if not joint:
        return PromptSet(prompts=tuple(make_task_prompt(head, spec=specs[task]) for task, head in heads.items()))
    by_dataset: dict[str, list[TaskHead]] = {}
    for task, head in heads.items():
        by_dataset.setdefault(specs[task].dataset, []).append(head)
    return PromptSet(prompts=tuple(make_joint_prompt(group, specs=specs) for group in by_dataset.values()))


def make_task_prompt(head: TaskHead, *, spec: TaskConfig) -> TaskPrompt:
    """How one task is asked, without examples.

    Raises:
        DataError: two slots have names that answers cannot keep apart.
    """
    if head.type == "slot_filling" and (pair := confusable_slots(head.labels.labels)):
        raise DataError(
            f"tasks.{head.name}: an answer `slot: words` cannot keep the slots {pair[0]!r} and {pair[1]!r} apart; "
            "rename one in the data"
        )
    standard = _standard()[head.type]
    instruction = spec.instruction or standard["instruction"].format(name=head.name)
    header = standard["header"] if spec.prompt.header is None else spec.prompt.header
    return TaskPrompt(
        tasks=(head.name,),
        types=(spec.type,),
        header=header.format(instruction=instruction, labels=", ".join(head.labels.labels)),
        question=standard["question"] if spec.prompt.question is None else spec.prompt.question,
    )


def make_joint_prompt(heads: Sequence[TaskHead], *, specs: Mapping[str, TaskConfig]) -> TaskPrompt:
    """How several tasks are asked at once, without examples: each task's own header, under one that joins them.

    Classification comes before slots: a short answer first, which the longer one can build on.
    """
    ordered = sorted(heads, key=lambda head: head.type != "classification")
    single = [make_task_prompt(head, spec=specs[head.name]) for head in ordered]
    if len(single) == 1:
        return single[0]
    standard = _standard()["joint"]
    tasks = "\n".join(
        standard["task"].format(name=head.name, header=prompt.header)
        for head, prompt in zip(ordered, single, strict=True)
    )
    return TaskPrompt(
        tasks=tuple(head.name for head in ordered),
        types=tuple(specs[head.name].type for head in ordered),
        header=standard["header"].format(tasks=tasks) if any(prompt.header for prompt in single) else "",
        question=standard["question"],
    )


def write_prompts(prompts: PromptSet, folder: Path) -> None:
    """Write `prompts.json` into a bundle's folder."""
    (folder / PROMPTS_FILE).write_text(prompts.model_dump_json(indent=1) + "\n", encoding="utf-8")


def read_prompts(folder: Path) -> PromptSet:
    """The prompts of the bundle in `folder`.

    Raises:
        BundleError: there are none, or they are of another format.
    """
    path = folder / PROMPTS_FILE
    try:
        return PromptSet.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise BundleError(f"{path}: is missing; fetch the bundle again or train the job again") from None
    except ValidationError as error:
        raise BundleError(
            f"{path}: {error.errors()[0]['msg']}; load it with the version that wrote it, or train again"
        ) from None


@cache
def _standard() -> dict[str, dict[str, str]]:
    text = resources.files("taskmix.modeling").joinpath("prompts.yaml").read_text(encoding="utf-8")
    loaded: dict[str, dict[str, str]] = yaml.safe_load(text)
    return loaded
