"""The part of `taskmix plan` that says how long prompts are, in tokens, and how much of a long text would be cut.

Header and question are counted by the checkpoint's tokenizer where it lies in a folder. Else, and for texts (of which
the data card knows characters only), for the examples and for slot answers, the figure is an estimate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taskmix.cli.estimates import ANSWER_TOKENS
from taskmix.cli.tables import make_table
from taskmix.config.schema import ApiModel, DecoderModel
from taskmix.data.schema import LabelSpace
from taskmix.modeling.answers import TaskHead
from taskmix.modeling.prompts import CHARACTERS_PER_TOKEN, PromptSet, TaskPrompt, make_prompts
from taskmix.modeling.shots import SHARE_OF_SHOTS

if TYPE_CHECKING:
    from rich.table import Table

    from taskmix.config.plan import Job, Plan
    from taskmix.data.dataset import Dataset

MARKS = ("p50", "p99")
"""Of the texts' lengths on the data card."""


@dataclass(frozen=True)
class Ruler:
    """How a model's prompts are measured.

    Attributes:
        size: tokens of words.
        overhead: tokens of a prompt without text and examples.
        limit: of a prompt, in tokens.
        counted_by: what counts them, in words.
    """

    size: Callable[[str], float]
    overhead: Callable[[TaskPrompt], float]
    limit: float
    counted_by: str


@dataclass(frozen=True)
class Lengths:
    """Tokens of one prompt.

    Attributes:
        header: with the question, without text.
        answer: the longest.
        limit: of a prompt; the answer of a decoder comes on top of it.
        texts: at each of `MARKS`; empty where the dataset is not on storage yet.
        shots: the examples', of median length.
    """

    header: float
    answer: float
    limit: float
    texts: tuple[float, ...] = ()
    shots: float = 0.0

    @property
    def cut(self) -> tuple[float, ...]:
        """The share of a text that would be cut, at each of `MARKS`; 1 where not even the header fits."""
        room = max(0.0, self.limit - self.header - self.shots)
        return tuple(max(0.0, 1 - room / text) if text else 0.0 for text in self.texts)


def asking_models(plan: Plan) -> dict[str, DecoderModel | ApiModel]:
    """The models that read prompts, by name: of those that the plan's jobs use."""
    found: dict[str, DecoderModel | ApiModel] = {}
    for name in dict.fromkeys(job.model for job in plan.jobs):
        model = plan.config.models[name]
        if isinstance(model, ApiModel) or (isinstance(model, DecoderModel) and model.head == "generator"):
            found[name] = model
    return found


def length_table(plan: Plan, *, cards: Mapping[str, Dataset]) -> Table:
    """Lengths of every prompt; models of which all figures are the same share their lines.

    Args:
        plan: whose models and tasks.
        cards: the datasets that are on storage, by name.
    """
    title = f"Prompts, tokens (~: estimated, {CHARACTERS_PER_TOKEN:g} characters a token, OpenAI's rule for English)"
    columns = ("asked", "counted by", "header", "shots", "text p50", "p99", "answer", "limit", "cut at p50", "at p99")
    table = make_table(title, "models", *columns)
    alike: dict[tuple[tuple[str, ...], ...], list[str]] = {}
    for name, model in asking_models(plan).items():
        ruler = ruler_of(model)
        prompts = _model_lengths(plan, name, model=model, ruler=ruler, cards=cards)
        lines = {(asked, *_cells(found, ruler)) for asked, found in prompts}
        alike.setdefault(tuple(sorted(lines)), []).append(name)
    for lines_of_all, models in alike.items():
        for place, cells in enumerate(lines_of_all, start=1):
            told = ", ".join(models) if place == 1 else ""
            table.add_row(told, *cells, end_section=place == len(lines_of_all))
    return table


def length_remarks(plan: Plan, *, cards: Mapping[str, Dataset]) -> list[str]:
    """What the table cannot tell yet."""
    datasets = {plan.config.tasks[task].dataset for job in plan.jobs for task in job.tasks}
    missing = sorted(datasets - set(cards))
    if not missing:
        return []
    told = ", ".join(missing)
    return [f"Lengths of the texts of {told} are told after the first ingest; labels too, where none are configured."]


def ruler_of(model: DecoderModel | ApiModel) -> Ruler:
    """By the checkpoint's tokenizer where it lies in a folder, else by characters."""
    if isinstance(model, ApiModel):
        return _estimating(model.max_prompt_characters / CHARACTERS_PER_TOKEN)
    folder = Path(model.checkpoint or "")
    if model.checkpoint is None or not (folder / "tokenizer.json").is_file():
        return _estimating(model.recipe.max_tokens)
    from taskmix.modeling.prompt_tokens import PromptTokens
    from taskmix.modeling.tokens import load_tokenizer

    settings: dict[str, Any] = {"chat": model.chat, "tuned": model.tuning != "none"}
    limit = model.recipe.max_tokens
    asker = PromptTokens(load_tokenizer(folder), prompts=PromptSet(prompts=()), max_tokens=limit, **settings)
    return Ruler(asker.size, asker.overhead, limit, "its tokenizer")


def _estimating(limit: float) -> Ruler:
    def size(words: str) -> float:
        return len(words) / CHARACTERS_PER_TOKEN

    return Ruler(size, lambda prompt: size(prompt.ask("").plain()), limit, "characters")


def _model_lengths(
    plan: Plan, name: str, *, model: DecoderModel | ApiModel, ruler: Ruler, cards: Mapping[str, Dataset]
) -> Iterator[tuple[str, Lengths | None]]:
    """What is asked, and its lengths; null where its labels are not known yet."""
    for job in plan.jobs:
        if job.model != name:
            continue
        heads = _known_heads(plan, job, cards=cards, joint=model.answers == "joint")
        for task in job.tasks:
            if task not in heads:
                yield task, None
        for prompt in make_prompts(heads, specs=plan.config.tasks, joint=model.answers == "joint").prompts:
            card = cards.get(plan.config.tasks[prompt.tasks[0]].dataset)
            yield " + ".join(prompt.tasks), measure_prompt(prompt, model=model, ruler=ruler, heads=heads, card=card)


def _known_heads(plan: Plan, job: Job, *, cards: Mapping[str, Dataset], joint: bool) -> dict[str, TaskHead]:
    """The job's tasks whose labels are known; of tasks that are asked in one prompt, all or none."""
    labels = {task: _labels(plan, task, cards=cards) for task in job.tasks}
    datasets = {task: plan.config.tasks[task].dataset for task in job.tasks}
    unknown = {datasets[task] for task, found in labels.items() if found is None} if joint else set()
    return {
        task: TaskHead(task, plan.config.tasks[task].type, found)
        for task, found in labels.items()
        if found is not None and datasets[task] not in unknown
    }


def _labels(plan: Plan, task: str, *, cards: Mapping[str, Dataset]) -> LabelSpace | None:
    spec = plan.config.tasks[task]
    if spec.dataset in cards and task in (spaces := cards[spec.dataset].label_spaces):
        return spaces[task]
    return LabelSpace(spec.labels) if spec.labels else None


def measure_prompt(
    prompt: TaskPrompt,
    *,
    model: DecoderModel | ApiModel,
    ruler: Ruler,
    heads: Mapping[str, TaskHead],
    card: Dataset | None,
) -> Lengths:
    """Tokens of one prompt.

    Args:
        prompt: without examples.
        model: that is asked.
        ruler: of the model.
        heads: the prompt's tasks, with their labels.
        card: of the dataset, where it is on storage.
    """
    header, answer = ruler.overhead(prompt), _answer(prompt, heads=heads, size=ruler.size)
    if card is None:
        return Lengths(header, answer, ruler.limit)
    characters = card.card["splits"]["train"]["lengths"]["characters"]
    texts = tuple(characters[mark] / CHARACTERS_PER_TOKEN for mark in MARKS)
    each = ruler.size(prompt.question.replace("{text}", "")) + texts[0] + answer
    room = max(0.0, (ruler.limit - header) * SHARE_OF_SHOTS)
    return Lengths(header, answer, ruler.limit, texts, min(model.shots * each, room))


def _answer(prompt: TaskPrompt, *, heads: Mapping[str, TaskHead], size: Callable[[str], float]) -> float:
    total = 0.0
    for task, kind in zip(prompt.tasks, prompt.types, strict=True):
        named = size(f"{task}: ") if prompt.joint else 0.0
        total += named + (ANSWER_TOKENS if kind == "slot_filling" else _longest(heads[task].labels.labels, size))
    return total


def _longest(labels: Sequence[str], size: Callable[[str], float]) -> float:
    return max(size(f" {label}") for label in labels)


def _cells(found: Lengths | None, ruler: Ruler) -> tuple[str, ...]:
    if found is None:
        return (ruler.counted_by, "after ingest", *[""] * 7)
    sign = "" if ruler.counted_by == "its tokenizer" else "~"
    ends = [f"~{text:,.0f}" for text in found.texts] or ["", ""]
    shots = f"~{found.shots:,.0f}" if found.shots else "none" if found.texts else ""
    cuts = [f"~{100 * share:.0f} %" if share else "nothing" for share in found.cut] or ["", ""]
    figures = (f"{sign}{found.header:,.0f}", shots, *ends, f"~{found.answer:,.0f}", f"{found.limit:,.0f}")
    return (ruler.counted_by, *figures, *cuts)
