"""What KFP shows of a step, made with KFP's own artifact classes."""

import json
import math
from pathlib import Path

import pytest
from kfp import dsl

from taskmix import storage
from taskmix.errors import Incomplete, NotFound
from taskmix_components.artifacts import copy_report, describe_bundle, describe_folder, finite


def artifact(kind: type[dsl.Artifact], folder: Path) -> dsl.Artifact:
    return kind(name=kind.__name__, uri=str(folder / kind.__name__))


def published(root: Path, *parts: str) -> str:
    folder = root / "made here"
    folder.mkdir()
    (folder / "train.parquet").write_bytes(b"12345")
    uri = storage.join(str(root), *parts)
    storage.publish(folder, uri, about={"kind": "dataset"})
    return uri


def test_dataset_shows_where_it_lies_and_what_is_in_it(tmp_path: Path) -> None:
    uri = published(tmp_path, "datasets", "demo")
    shown = artifact(dsl.Dataset, tmp_path)
    describe_folder(shown, uri)
    expected = {"uri": uri, "files": 1, "bytes": 5, "kind": "dataset"}
    expected["manifest_sha256"] = storage.read_manifest(uri).sha256
    assert shown.metadata == expected
    assert json.loads(Path(shown.path).read_text()) == expected


def test_model_shows_the_bundle_of_its_job(tmp_path: Path) -> None:
    uri = published(tmp_path, "jobs", "minilm.intent", "0123", "bundle")
    shown = artifact(dsl.Model, tmp_path)
    describe_bundle(shown, storage.join(str(tmp_path), "jobs", "minilm.intent", "0123"))
    assert shown.metadata["uri"] == uri


def test_folder_without_manifest_is_not_described(tmp_path: Path) -> None:
    with pytest.raises((Incomplete, NotFound), match="nothing"):
        describe_folder(artifact(dsl.Dataset, tmp_path), str(tmp_path / "nothing"))


def test_only_finite_numbers_are_metrics() -> None:
    assert finite({"a": 0.5, "b": None, "c": math.nan, "d": math.inf, "e": 2}) == {"a": 0.5, "e": 2}


def test_report_is_copied_as_it_is(tmp_path: Path) -> None:
    report = storage.join(str(tmp_path), "runs", "r1", "report")
    for name in ("report.html", "report.md"):
        storage.write_bytes(storage.join(report, name), name.encode())
    html, markdown = artifact(dsl.HTML, tmp_path), artifact(dsl.Markdown, tmp_path)
    copy_report(html, markdown, report)
    assert Path(html.path).read_text() == "report.html"
    assert Path(markdown.path).read_text() == "report.md"
    assert html.metadata["uri"] == storage.join(report, "report.html")
