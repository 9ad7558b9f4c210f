"""The real datasets load with exactly the counts of the README beside them, which is where the numbers come from."""

from collections.abc import Callable
from pathlib import Path

import pytest

from taskmix.config.plan import DatasetSlice
from taskmix.config.schema import MassiveDataset, NewsgroupsDataset
from taskmix.data.dataset import Dataset, load_dataset
from taskmix.data.ingest import build_dataset
from taskmix.data.labels import parse_brackets
from taskmix.data.readers import read_records
from taskmix.data.readers.newsgroups import strip_post
from taskmix.data.records import Record
from taskmix.data.schema import SPLITS

Build = Callable[..., Dataset]


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    def run(dataset: dict[str, object], tasks: dict[str, dict[str, str]]) -> Dataset:
        named = {task: {**spec, "dataset": "real"} for task, spec in tasks.items()}
        slice = DatasetSlice.model_validate({"name": "real", "seed": 13, "dataset": dataset, "tasks": named})
        folder = tmp_path_factory.mktemp("real")
        build_dataset(slice, folder=folder, version="0" * 16)
        return load_dataset(folder)

    return run


@pytest.fixture(scope="module")
def massive(build: Build, shared_dir: Path) -> Dataset:
    tasks = {
        "intent": {"type": "classification", "label": "intent"},
        "slots": {"type": "slot_filling", "annotation": "annot_utt"},
    }
    return build({"format": "massive", "uri": str(shared_dir / "data/massive/en-US.jsonl"), "max_bad_rows": 0.0}, tasks)


def newsgroups_uri(shared_dir: Path) -> str:
    return str(shared_dir / "data/20news-bydate/20news-bydate.tar.gz")


def build_newsgroups(build: Build, shared_dir: Path, *, strip: list[str]) -> Dataset:
    tasks = {name: {"type": "classification", "label": name} for name in ("group", "area")}
    config = {"format": "20newsgroups", "uri": newsgroups_uri(shared_dir), "strip": strip, "max_bad_rows": 0.0}
    return build(config, tasks)


def test_massive_has_its_rows_intents_and_slots(massive: Dataset) -> None:
    assert [massive.card["splits"][split]["rows"] for split in SPLITS] == [11_514, 2_033, 2_974]
    assert len(massive.label_spaces["intent"]) == 60
    assert len(massive.label_spaces["slots"]) == 55
    assert massive.card["checks"]["quarantined_rows"] == 0
    assert massive.card["decisions"] == []


def test_massive_labels_that_dev_or_test_lack(massive: Dataset) -> None:
    intent, slots = (massive.card["tasks"][task]["labels_without_rows"] for task in ("intent", "slots"))
    assert intent == {"train": [], "dev": ["audio_volume_other"], "test": ["cooking_query"]}
    assert {split: len(slots[split]) for split in SPLITS} == {"train": 0, "dev": 2, "test": 2}
    for task in ("intent", "slots"):
        assert massive.card["tasks"][task]["unknown_labels"] == {"train": {}, "dev": {}, "test": {}}


def test_massive_texts_that_occur_twice(massive: Dataset) -> None:
    shared = massive.card["checks"]["shared_texts"]
    assert (shared["train/dev"], shared["train/test"]) == (11, 21)
    intent = massive.card["tasks"]["intent"]
    assert intent["shared_conflicts"] == {"dev": 1, "test": 2}
    assert intent["conflicting_texts"] == 4


def test_massive_annotations_are_their_texts_without_exception(shared_dir: Path) -> None:
    config = MassiveDataset(format="massive", uri=str(shared_dir / "data/massive/en-US.jsonl"))
    records = [record for record in read_records(config, seed=0) if isinstance(record, Record)]
    assert len(records) == 16_521
    assert all(parse_brackets(str(record.columns["annot_utt"]))[0] == record.text for record in records)
    assert sum(len(parse_brackets(str(record.columns["annot_utt"]))[1]) for record in records) > 15_000
    assert len({record.id for record in records}) == 16_521


def test_newsgroups_has_its_rows_and_classes(build: Build, shared_dir: Path) -> None:
    dataset = build_newsgroups(build, shared_dir, strip=["headers"])
    rows = [dataset.card["splits"][split]["rows"] for split in SPLITS]
    assert (rows[0] + rows[1], rows[2]) == (11_314, 7_532)
    assert rows[1] == 1_131
    assert len(dataset.label_spaces["group"]) == 20
    assert dataset.label_spaces["area"].labels == ("alt", "comp", "misc", "rec", "sci", "soc", "talk")
    counts = dataset.card["tasks"]["area"]["counts"]["test"]
    assert [counts[area] for area in dataset.label_spaces["area"].labels] == [319, 1955, 390, 1590, 1579, 398, 1301]
    shared = dataset.card["checks"]["shared_texts"]
    assert shared["train/test"] + shared["dev/test"] == 11


def test_newsgroups_posts_that_stripping_leaves_empty_stay(build: Build, shared_dir: Path) -> None:
    dataset = build_newsgroups(build, shared_dir, strip=["headers", "footers", "quotes"])
    empty = dataset.card["checks"]["empty_texts"]
    assert (empty["train"] + empty["dev"], empty["test"]) == (300, 215)
    assert len(dataset.rows("test")) == 7_532


def test_newsgroups_raw_posts(shared_dir: Path) -> None:
    config = NewsgroupsDataset(format="20newsgroups", uri=newsgroups_uri(shared_dir))
    records = [record for record in read_records(config, seed=0) if isinstance(record, Record)]
    long = {split: sum(r.split == split and len(r.text.split()) > 512 for r in records) for split in ("train", "test")}
    assert long == {"train": 1_112, "test": 721}
    assert sum("\r" in record.text for record in records) == 6
    assert len({record.id for record in records}) == 18_846
    assert sum(not is_utf8(record.text.encode("latin-1")) for record in records) == 73


def test_newsgroups_stripping_is_scikit_learns(shared_dir: Path) -> None:
    from sklearn.datasets import _twenty_newsgroups as theirs

    config = NewsgroupsDataset(format="20newsgroups", uri=newsgroups_uri(shared_dir))
    texts = [record.text for record in read_records(config, seed=0) if isinstance(record, Record)][::5]
    for text in texts:
        expected = theirs.strip_newsgroup_header(text)
        expected = theirs.strip_newsgroup_quoting(theirs.strip_newsgroup_footer(expected))
        assert strip_post(text, parts=("headers", "footers", "quotes")) == expected


def is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
