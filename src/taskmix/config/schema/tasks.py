"""The section `tasks`: the questions asked of a dataset's texts."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from taskmix.config.schema.section import Name, Section


class ClassificationTask(Section):
    """One label of a set for each text."""

    type: Literal["classification"]
    dataset: Name
    label: str
    """Column of the label."""
    labels: tuple[str, ...] | None = None
    """The label space, in order; without it, the labels seen in train, sorted. Append only: the order is the index."""


class SlotFillingTask(Section):
    """Labelled spans of words in each text."""

    type: Literal["slot_filling"]
    dataset: Name
    annotation: str
    """Column of the spans: text with `[slot : words]`, {start, end, slot} in characters each, or one BIO tag a word."""
    labels: tuple[str, ...] | None = None
    """The slots, in order; without it, the slots seen in train, sorted. Append only."""


TaskConfig = Annotated[ClassificationTask | SlotFillingTask, Field(discriminator="type")]
