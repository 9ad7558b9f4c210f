"""The section `datasets`: where rows come from, by format."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from taskmix.config.schema.section import Positive, Section, Share


class RowLimit(Section):
    """At most so many rows of each split, drawn with the run's seed; null keeps all."""

    train: Positive | None = None
    dev: Positive | None = None
    test: Positive | None = None


class DatasetBase(Section):
    """What all formats share."""

    dev_fraction: float = Field(0.1, gt=0.0, lt=0.5)
    """Share of train cut off as dev, stratified and seeded, where the source has no dev split."""
    max_bad_rows: Share = 0.01
    """Share of rows that may go to quarantine before ingest refuses the dataset."""
    limit: RowLimit = RowLimit()


class MassiveDataset(DatasetBase):
    """MASSIVE (arXiv 2204.08582): the official tar.gz, or one locale's jsonl."""

    format: Literal["massive"]
    uri: str
    locale: str = "en-US"


class NewsgroupsDataset(DatasetBase):
    """20 Newsgroups, the `bydate` archive; gives the columns `group` (20 classes) and `area` (7 classes)."""

    format: Literal["20newsgroups"]
    uri: str
    strip: tuple[Literal["headers", "footers", "quotes"], ...] = ()


class FileDataset(DatasetBase):
    """Rows in files: a CSV, a JSON-lines or a Parquet file a split."""

    format: Literal["csv", "jsonl", "parquet"]
    uri: str
    """Holds `{split}`, which becomes train, dev and test."""
    text: str | tuple[str, ...]
    """Column(s) of the text; several are joined by a line break, a list of words by spaces."""
    id: str | None = None
    """Column of the id; without it the id is split and row number."""

    @field_validator("uri")
    @classmethod
    def _has_split(cls, uri: str) -> str:
        if "{split}" not in uri:
            raise ValueError("must hold '{split}', which becomes train, dev and test, e.g. data/{split}.csv")
        return uri


class HubDataset(DatasetBase):
    """A dataset of the Hugging Face hub, or a local folder of the same form, read by the `datasets` library."""

    format: Literal["hub"]
    path: str
    """`owner/name`, or a folder."""
    revision: str | None = None
    subset: str | None = None
    """The hub calls it the configuration name."""
    splits: dict[Literal["train", "dev", "test"], str] = {"train": "train", "dev": "validation", "test": "test"}
    text: str | tuple[str, ...]
    id: str | None = None


class GeneratedDataset(DatasetBase):
    """Utterances that taskmix writes itself from a grammar, with the columns `intent`, `topic` and `slots`."""

    format: Literal["generated"]
    train: Positive = 2400
    dev: Positive = 400
    test: Positive = 800
    noise: Share = 0.08
    """Share of words that get a typing error, and of train rows with a wrong intent (or, as often, a wrong slot)."""


DatasetConfig = Annotated[
    MassiveDataset | NewsgroupsDataset | FileDataset | HubDataset | GeneratedDataset, Field(discriminator="format")
]
