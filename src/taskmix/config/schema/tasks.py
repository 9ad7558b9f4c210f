"""The section `tasks`: the questions asked of a dataset's texts."""

from __future__ import annotations

import string
from typing import Annotated, Literal

from pydantic import Field, field_validator

from taskmix.config.schema.section import Name, Section


class PromptTemplate(Section):
    """How a decoder or an API model is asked; what is left out is taken from the templates that taskmix brings."""

    header: str | None = None
    """Stands once, at the top (or is the system's message): with `{instruction}` and `{labels}` in their places."""
    question: str | None = None
    """Stands for each text, before its answer: with `{text}` in its place. The answer follows after a blank."""

    @field_validator("header", "question")
    @classmethod
    def _only_its_fields(cls, template: str | None, info: object) -> str | None:
        if template is None:
            return None
        name = getattr(info, "field_name", "")
        allowed = {"header": {"instruction", "labels"}, "question": {"text"}}[name]
        try:
            found = {field for _, field, _, _ in string.Formatter().parse(template) if field is not None}
        except ValueError as error:
            raise ValueError(f"is no template: {error}; write {{{{ and }}}} for braces") from None
        if found - allowed:
            raise ValueError(f"names {sorted(found - allowed)}; allowed: {sorted(allowed)}")
        if name == "question" and template.count("{text}") != 1:
            raise ValueError("must hold {text} once")
        return template


class ClassificationTask(Section):
    """One label of a set for each text."""

    type: Literal["classification"]
    dataset: Name
    label: str
    """Column of the label."""
    labels: tuple[str, ...] | None = None
    """The label space, in order; without it, the labels seen in train, sorted. Append only: the order is the index."""
    instruction: str | None = None
    """The question in words, for models that read prompts; null asks for the task by its name."""
    prompt: PromptTemplate = PromptTemplate()


class SlotFillingTask(Section):
    """Labelled spans of words in each text."""

    type: Literal["slot_filling"]
    dataset: Name
    annotation: str
    """Column of the spans: text with `[slot : words]`, {start, end, slot} in characters each, or one BIO tag a word."""
    labels: tuple[str, ...] | None = None
    """The slots, in order; without it, the slots seen in train, sorted. Append only."""
    instruction: str | None = None
    """The question in words, for models that read prompts; null asks for the task by its name."""
    prompt: PromptTemplate = PromptTemplate()


TaskConfig = Annotated[ClassificationTask | SlotFillingTask, Field(discriminator="type")]
