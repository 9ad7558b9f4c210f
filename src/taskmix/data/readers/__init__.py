"""Readers: one a format. They find rows, their columns and their splits; ingest looks at labels and quality.

`read_records` is the registry. A new format is a model in `taskmix.config.schema`, a reader here, and a line in each
of the three functions.
"""

from __future__ import annotations

from collections.abc import Mapping

from taskmix import storage
from taskmix.config.schema import (
    DatasetConfig,
    FileDataset,
    GeneratedDataset,
    HubDataset,
    MassiveDataset,
    NewsgroupsDataset,
)
from taskmix.data.readers import csv_files, generated, hub, jsonl_files, massive, newsgroups, parquet_files, tabular
from taskmix.data.records import Records


def read_records(config: DatasetConfig, *, seed: int) -> Records:
    """Yield every row of a source, in an order that depends on its content only.

    Args:
        config: the dataset's section.
        seed: of generated data.

    Raises:
        DataError: the source as a whole cannot be what `config` says.
        StorageError: it cannot be fetched, is not there, or is damaged.
    """
    match config:
        case MassiveDataset():
            return massive.read_massive(config)
        case NewsgroupsDataset():
            return newsgroups.read_newsgroups(config)
        case FileDataset(format="csv"):
            return csv_files.read_csv(config)
        case FileDataset(format="jsonl"):
            return jsonl_files.read_jsonl(config)
        case FileDataset():
            return parquet_files.read_parquet(config)
        case HubDataset():
            return hub.read_hub(config)
        case GeneratedDataset():
            return generated.read_generated(config, seed=seed)


def identify_source(config: DatasetConfig) -> Mapping[str, str]:
    """What lies at the source now, by part: changes when its content does."""
    match config:
        case MassiveDataset() | NewsgroupsDataset():
            return {"all": storage.source_version(config.uri)}
        case FileDataset():
            return tabular.split_versions(config)
        case HubDataset():
            return {"all": hub.hub_version(config)}
        case GeneratedDataset():
            return {}


def describe_source(config: DatasetConfig) -> dict[str, str | None]:
    """Where the data comes from (null: from taskmix itself), its licence where known, and what to cite."""
    uri = storage.redact(config.uri) if not isinstance(config, HubDataset | GeneratedDataset) else None
    match config:
        case MassiveDataset():
            return {"uri": uri, "licence": massive.LICENCE, "citation": massive.CITATION}
        case NewsgroupsDataset():
            return {"uri": uri, "licence": None, "citation": newsgroups.CITATION}
        case FileDataset():
            return {"uri": uri, "licence": None, "citation": None}
        case HubDataset():
            return {"uri": config.path, "licence": None, "citation": None}
        case GeneratedDataset():
            return {"uri": None, "licence": generated.LICENCE, "citation": None}
