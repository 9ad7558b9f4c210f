"""Datasets of the Hugging Face hub, and local folders of the same form, by the `datasets` library.

Code that a dataset brings is never run: `datasets` 4 and later cannot, and `trust_remote_code` is never passed.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taskmix import storage
from taskmix.config.schema import HubDataset
from taskmix.config.wording import did_you_mean, one_of
from taskmix.data.readers.tabular import TableRow, to_records
from taskmix.data.records import Records
from taskmix.data.schema import SPLITS, Split
from taskmix.errors import DataError, MissingExtra, NotFound, StorageError

if TYPE_CHECKING:
    import datasets

_SAVED = "dataset_dict.json"
"""Marks a folder that `save_to_disk` wrote."""
_COMMIT = re.compile(r"[0-9a-f]{40}")


def read_hub(config: HubDataset) -> Records:
    """Yield the rows of the splits; classes that the dataset numbers become their names.

    Raises:
        DataError: a split or column is not there, or the library cannot read the dataset.
        MissingExtra: the `datasets` library is not installed.
        NotFound: there is no such folder or dataset.
        StorageError: the hub cannot be reached.
    """
    with tempfile.TemporaryDirectory(prefix="taskmix-hub-") as cache:
        tables = _load(config, cache=cache if _folder(config) else None)
        for split in SPLITS:
            name = f"{config.path} split {config.splits.get(split)!r}"
            table = tables.get(config.splits.get(split, ""))
            if table is not None:
                rows = _read_table(table, name=name)
                yield from to_records(rows, text=config.text, id_column=config.id, split=split, name=name)
            elif split != "dev":
                raise DataError(_no_split(config, split, found=list(tables)))


def hub_version(config: HubDataset) -> str:
    """The commit that the hub has now for the revision, or the hash of a folder's files.

    Raises:
        NotFound: there is no such folder or dataset.
        StorageError: the hub cannot be reached.
    """
    folder = _folder(config)
    if folder:
        return storage.source_version(str(folder))
    if config.revision and _COMMIT.fullmatch(config.revision):
        return config.revision
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    try:
        return str(HfApi().dataset_info(config.path, revision=config.revision).sha)
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise _not_on_hub(config) from error
    except Exception as error:  # its HTTP library, and so the errors of a broken connection, change between versions
        raise _no_hub(config, error) from error


def _folder(config: HubDataset) -> Path | None:
    """The local folder that `path` means; None for a hub id.

    Raises:
        NotFound: it is neither a folder nor of the form owner/name.
    """
    path = Path(config.path).expanduser()
    if path.is_dir():
        return path
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", config.path):
        raise NotFound(
            f"{config.path}: there is no such folder, and a hub dataset is written owner/name; correct 'path'"
        )
    return None


def _load(config: HubDataset, *, cache: str | None) -> Mapping[str, datasets.Dataset]:
    try:
        import datasets
    except ImportError as error:
        raise MissingExtra("format 'hub' needs the datasets library; install taskmix[train]") from error
    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    folder = _folder(config)
    try:
        if folder and (folder / _SAVED).is_file():
            return dict(datasets.DatasetDict.load_from_disk(str(folder)))
        source = str(folder) if folder else config.path
        return dict(datasets.load_dataset(source, name=config.subset, revision=config.revision, cache_dir=cache))
    except datasets.exceptions.DatasetNotFoundError as error:
        raise _not_on_hub(config) from error
    except ConnectionError as error:
        raise _no_hub(config, error) from error
    except (datasets.exceptions.DatasetsError, OSError, ValueError, RuntimeError) as error:
        first = str(error).strip().partition("\n")[0]
        raise DataError(
            f"{config.path}: the datasets library cannot read it ({type(error).__name__}: {first}); correct 'path', "
            "'subset' or 'revision', or save it as Parquet files and read these"
        ) from error


def _not_on_hub(config: HubDataset) -> NotFound:
    revision = config.revision or "main"
    return NotFound(
        f"{config.path}: the hub has no such dataset or revision ({revision}), or asks for a token (HF_TOKEN)"
    )


def _no_hub(config: HubDataset, error: Exception) -> StorageError:
    return StorageError(
        f"{config.path}: the hub cannot be reached ({type(error).__name__}); give 'revision' as a commit to use the "
        "cached copy, or 'path' as a folder"
    )


def _no_split(config: HubDataset, split: Split, *, found: list[str]) -> str:
    wanted = config.splits.get(split)
    if wanted is None:
        return f"{config.path}: 'splits' names no {split}; the dataset has {one_of(found)}; add {split}: <name>"
    near = did_you_mean(wanted, found)
    return f"{config.path}: has no split {wanted!r}{near}; it has {one_of(found)}; correct splits.{split}"


def _read_table(table: datasets.Dataset, *, name: str) -> Iterator[TableRow]:
    for number, row in enumerate(table, start=1):
        yield f"{name} row {number}", {column: _named(value, table.features[column]) for column, value in row.items()}


def _named(value: Any, feature: Any) -> Any:
    """The value with class numbers as names, and spans (which some versions give as a dict of lists) as a list."""
    if value is None:
        return None
    if hasattr(feature, "int2str"):
        return feature.int2str(value) if value >= 0 else None  # -1: the hub's way to hide test labels
    inner = getattr(feature, "feature", None)
    if isinstance(value, list) and inner is not None:
        return [_named(entry, inner) for entry in value]
    if isinstance(value, dict) and {"start", "end", "slot"} <= set(value) and isinstance(value["start"], list):
        return [dict(zip(value, entries, strict=True)) for entries in zip(*value.values(), strict=True)]
    return value
