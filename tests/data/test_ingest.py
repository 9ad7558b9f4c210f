import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from taskmix import storage
from taskmix.config.plan import DatasetSlice
from taskmix.data.dataset import Dataset, load_dataset
from taskmix.data.ingest import ingest, source_version
from taskmix.data.schema import SPLITS, Span
from taskmix.errors import DataError

Load = Callable[..., Dataset]
MakeRows = Callable[..., list[dict[str, Any]]]
MakeSlice = Callable[..., DatasetSlice]
WriteJsonl = Callable[..., dict[str, Any]]

INTENT = {"intent": {"type": "classification", "label": "intent"}}
SLOTS = {"slots": {"type": "slot_filling", "annotation": "spans"}}


def test_published_dataset_is_reused_not_read_again(
    make_slice: MakeSlice, write_jsonl: WriteJsonl, make_rows: MakeRows, tmp_path: Path
) -> None:
    slice = make_slice(write_jsonl(train=make_rows(20), test=make_rows(5)))
    root = str(tmp_path / "store")
    version = source_version(slice)
    uri = ingest(slice, storage=root, version=version)
    assert uri == f"{root}/datasets/tickets/{version}"
    assert storage.is_complete(uri)
    (tmp_path / "train.jsonl").unlink()
    assert ingest(slice, storage=root, version=version) == uri


def test_same_source_gives_the_same_bytes(
    make_slice: MakeSlice, write_jsonl: WriteJsonl, make_rows: MakeRows, tmp_path: Path
) -> None:
    slice = make_slice(write_jsonl(train=make_rows(20), test=make_rows(5)))
    uris = [ingest(slice, storage=str(tmp_path / name), version=source_version(slice)) for name in ("a", "b")]
    first, second = (storage.read_manifest(uri) for uri in uris)
    assert first.sha256 == second.sha256
    assert {entry.name for entry in first.files} == {"train.parquet", "dev.parquet", "test.parquet", "card.json"}


def test_version_changes_with_data_slice_and_seed_only(
    make_slice: MakeSlice, write_jsonl: WriteJsonl, make_rows: MakeRows
) -> None:
    config = write_jsonl(train=make_rows(20), test=make_rows(5))
    first = source_version(make_slice(config))
    assert source_version(make_slice(config)) == first
    others = [
        source_version(make_slice(config, seed=14)),
        source_version(make_slice({**config, "limit": {"train": 5}})),
    ]
    write_jsonl(train=make_rows(21))
    others.append(source_version(make_slice(config)))
    write_jsonl(dev=make_rows(5))
    others.append(source_version(make_slice(config)))
    assert len({first, *others}) == 5


def test_dev_of_the_source_is_kept_and_else_cut_from_train(
    load: Load, write_jsonl: WriteJsonl, make_rows: MakeRows
) -> None:
    config = write_jsonl(train=make_rows(40), test=make_rows(5, start=90))
    cut = load({**config, "dev_fraction": 0.25})
    assert [len(cut.rows(split)) for split in SPLITS] == [30, 10, 5]
    assert sorted(row.labels["intent"] for row in cut.rows("dev")) == ["buy"] * 5 + ["sell"] * 5
    assert cut.card["decisions"] == [
        "the source has no dev split: 10 rows were cut off train, stratified by task intent, with seed 13"
    ]
    write_jsonl(dev=make_rows(7, start=60))
    assert [len(load(config).rows(split)) for split in SPLITS] == [40, 7, 5]


def test_limit_draws_a_seeded_sample_and_says_so(load: Load, write_jsonl: WriteJsonl, make_rows: MakeRows) -> None:
    config = write_jsonl(train=make_rows(40), dev=make_rows(9, start=50), test=make_rows(9, start=90))
    limited = {**config, "limit": {"train": 8, "test": 3}}
    dataset = load(limited)
    assert [len(dataset.rows(split)) for split in SPLITS] == [8, 9, 3]
    assert dataset.card["decisions"][0] == "limit: 8 of 40 train rows were drawn with seed 13"
    assert load(limited, seed=14).rows("train") != dataset.rows("train")


def test_label_that_only_test_has_stays_and_is_recorded(
    load: Load, write_jsonl: WriteJsonl, make_rows: MakeRows
) -> None:
    test = [*make_rows(4, start=90), {"text": "new", "intent": "hold"}]
    dataset = load(write_jsonl(train=make_rows(20), dev=make_rows(4), test=test))
    assert dataset.label_spaces["intent"].labels == ("buy", "sell")
    assert dataset.rows("test")[-1].labels == {"intent": "hold"}
    assert dataset.card["tasks"]["intent"]["unknown_labels"] == {"train": {}, "dev": {}, "test": {"hold": 1}}
    assert "1 test labels (hold) are not in the label space" in dataset.card["decisions"][0]


def test_labels_of_the_configuration_keep_their_order_and_place(
    load: Load, write_jsonl: WriteJsonl, make_rows: MakeRows
) -> None:
    tasks = {"intent": {**INTENT["intent"], "labels": ["sell", "hold", "buy"]}}
    dataset = load(write_jsonl(train=make_rows(20), dev=make_rows(4), test=make_rows(4)), tasks)
    assert dataset.label_spaces["intent"].labels == ("sell", "hold", "buy")
    assert dataset.card["tasks"]["intent"]["labels_without_rows"]["train"] == ["hold"]


def test_label_outside_the_configured_ones_goes_to_quarantine(
    load: Load, write_jsonl: WriteJsonl, make_rows: MakeRows
) -> None:
    tasks = {"intent": {**INTENT["intent"], "labels": ["buy", "sell"]}}
    config = write_jsonl(train=[*make_rows(30), {"text": "odd", "intent": "sel"}], dev=make_rows(4), test=make_rows(4))
    dataset = load({**config, "max_bad_rows": 0.1}, tasks)
    [entry] = [json.loads(line) for line in (dataset.folder / "quarantine.jsonl").read_text().splitlines()]
    assert entry["why"] == (
        "tasks.intent: label 'sel' is not one of buy, sell; did you mean 'sell'?; correct the row or append the "
        "label to tasks.intent.labels"
    )
    assert (entry["task"], entry["split"]) == ("intent", "train")
    assert len(dataset.rows("train")) == 30
    with pytest.raises(DataError, match=r"1 of 39 rows are bad.*\n.*train\.jsonl line 31: tasks\.intent: label 'sel'"):
        load(config, tasks)


def test_error_on_a_large_label_space_does_not_list_it(
    load: Load, write_jsonl: WriteJsonl, make_rows: MakeRows
) -> None:
    labels = [f"label{n}" for n in range(40)]
    rows = make_rows(80, labels=labels)
    config = write_jsonl(train=[*rows, {"text": "x", "intent": "other " * 100}], dev=rows, test=rows)
    with pytest.raises(DataError, match=r"is not one of the 40 of tasks\.intent\.labels") as caught:
        load({**config, "max_bad_rows": 0.0}, {"intent": {**INTENT["intent"], "labels": labels}})
    assert len(str(caught.value)) < 500


def test_slot_outside_the_configured_ones_goes_to_quarantine(load: Load, write_jsonl: WriteJsonl) -> None:
    rows = [{"text": "to rome", "spans": "to [city : rome]"}] * 30
    config = write_jsonl(train=[*rows, {"text": "at five", "spans": "at [tim : five]"}], dev=rows, test=rows)
    tasks = {"slots": {**SLOTS["slots"], "labels": ["city", "time"]}}
    dataset = load({**config, "max_bad_rows": 0.1}, tasks)
    assert "label 'tim' is not one of city, time" in (dataset.folder / "quarantine.jsonl").read_text()
    assert len(dataset.rows("train")) == 30


def test_card_counts_duplicates_shared_texts_and_conflicts(load: Load, write_jsonl: WriteJsonl) -> None:
    train = [("a", "x"), ("a", "x"), ("b", "x"), ("b", "y"), ("c", "y"), ("", "x"), ("", "y"), ("d", "y")]
    dev = [("a ", "x"), ("e", "y")]
    test = [("c", "x"), ("b", "x"), ("e", "y"), ("", "x"), ("f", "y"), ("f", "y")]
    splits = {
        name: [{"text": text, "intent": label} for text, label in rows]
        for name, rows in (("train", train), ("dev", dev), ("test", test))
    }
    card = load(write_jsonl(**splits)).card
    assert card["checks"] == {
        "rows_read": 16,
        "quarantined_rows": 0,
        "quarantined_labels": {},
        "unlabelled_rows": {"train": 0, "dev": 0, "test": 0},
        "empty_texts": {"train": 2, "dev": 0, "test": 1},
        "duplicate_texts": {"train": 2, "dev": 0, "test": 1},
        "shared_texts": {"train/dev": 1, "train/test": 2, "dev/test": 1},
    }
    intent = card["tasks"]["intent"]
    assert intent["conflicting_texts"] == 1
    assert intent["shared_conflicts"] == {"dev": 0, "test": 1}
    assert intent["counts"]["train"] == {"x": 4, "y": 4}
    assert intent["majority_share"] == {"train": 0.5, "dev": 0.5, "test": 0.5}
    assert intent["label_shift"] == 0.0
    assert card["splits"]["train"]["lengths"]["words"]["p100"] == 1.0


def test_label_shift_is_the_total_variation_distance(load: Load, write_jsonl: WriteJsonl, make_rows: MakeRows) -> None:
    test = make_rows(3, labels=["buy"]) + make_rows(1, start=9, labels=["sell"])
    dataset = load(write_jsonl(train=make_rows(20), dev=make_rows(4), test=test))
    assert dataset.card["tasks"]["intent"]["label_shift"] == 0.25


def test_another_task_leaves_a_tasks_hash_as_it_is(load: Load, write_jsonl: WriteJsonl, make_rows: MakeRows) -> None:
    rows = [{**row, "spans": None if n % 3 else row["text"]} for n, row in enumerate(make_rows(30))]
    rows[0]["spans"] = "[what : text] number 0"
    rows[1]["spans"] = "[broken"
    tests = [{**row, "spans": "[what : text] number 0"} for row in make_rows(1)]
    config = {**write_jsonl(train=rows, dev=tests, test=tests), "max_bad_rows": 0.1}
    alone, both = load(config, INTENT), load(config, {**INTENT, **SLOTS})
    assert both.task_hashes["intent"] == alone.task_hashes["intent"]
    assert len(set(both.task_hashes.values())) == 2
    relabelled = [{**rows[0], "intent": "sell"}, *rows[1:]]
    write_jsonl(train=relabelled)
    assert load(config, INTENT).task_hashes["intent"] != alone.task_hashes["intent"]


def test_rows_without_any_label_are_left_out_and_counted(
    load: Load, write_jsonl: WriteJsonl, make_rows: MakeRows
) -> None:
    train = [*make_rows(20), {"text": "no idea", "intent": None}]
    dataset = load(write_jsonl(train=train, dev=make_rows(4), test=make_rows(4)))
    assert len(dataset.rows("train")) == 20
    assert dataset.card["checks"]["unlabelled_rows"] == {"train": 1, "dev": 0, "test": 0}


def test_split_without_labels_of_a_task_is_refused(load: Load, write_jsonl: WriteJsonl, make_rows: MakeRows) -> None:
    rows = [{**row, "spans": []} for row in make_rows(20)]
    tests = [{**row, "spans": None} for row in rows]
    config = write_jsonl(train=rows, dev=rows, test=tests)
    with pytest.raises(DataError, match=r"tasks\.slots: no test row of datasets\.tickets has a label of it"):
        load(config, {**INTENT, **SLOTS})


def test_train_without_a_single_slot_is_refused(load: Load, write_jsonl: WriteJsonl) -> None:
    rows = [{"text": "plain", "spans": []}] * 3
    with pytest.raises(DataError, match=r"tasks\.slots: the train rows of datasets\.tickets have 0 slots \(none\)"):
        load(write_jsonl(train=rows, dev=rows, test=rows), SLOTS)


@pytest.mark.parametrize("empty", ["train", "dev", "test"])
def test_empty_file_of_a_split(load: Load, write_jsonl: WriteJsonl, make_rows: MakeRows, empty: str) -> None:
    splits = {split: [] if split == empty else make_rows(20) for split in SPLITS}
    if empty == "dev":
        assert len(load(write_jsonl(**splits)).rows("dev")) == 2
        return
    with pytest.raises(
        DataError, match=rf"datasets\.tickets: {empty} has no usable rows; each dataset needs train and"
    ):
        load(write_jsonl(**splits))


def test_single_train_row_cannot_be_parted(load: Load, write_jsonl: WriteJsonl, make_rows: MakeRows) -> None:
    with pytest.raises(DataError, match=r"one train row cannot be parted into train and dev"):
        load(write_jsonl(train=make_rows(1), test=make_rows(3)))


@pytest.mark.parametrize("task", ["id", "text"])
def test_task_named_like_a_column_of_every_dataset_is_refused(
    load: Load, write_jsonl: WriteJsonl, make_rows: MakeRows, task: str
) -> None:
    config = write_jsonl(train=make_rows(20), test=make_rows(5))
    with pytest.raises(DataError, match=rf"tasks\.{task}: '{task}' is the name of a column of every dataset"):
        load(config, {task: INTENT["intent"]})


def test_tables_have_the_one_schema(load: Load, write_jsonl: WriteJsonl) -> None:
    rows = [
        {"text": "to rome", "intent": "go", "spans": "to [city : rome]"},
        {"text": "halt", "intent": "stop", "spans": "halt"},
        {"text": "well", "intent": "stop", "spans": None},
    ]
    dataset = load(write_jsonl(train=rows, dev=rows, test=rows), {**INTENT, **SLOTS})
    table = dataset.table("train")
    assert table.column_names == ["id", "text", "intent", "slots"]
    assert [str(table.schema.field(name).type) for name in ("id", "text", "intent")] == ["string"] * 3
    assert table["slots"].to_pylist() == [[{"start": 1, "end": 2, "slot": "city"}], [], None]
    assert dataset.rows("train")[0].labels["slots"] == (Span(1, 2, "city"),)
    assert "slots" not in dataset.rows("train")[2].labels


def test_folder_that_is_no_dataset_is_refused(
    load: Load, write_jsonl: WriteJsonl, make_rows: MakeRows, tmp_path: Path
) -> None:
    dataset = load(write_jsonl(train=make_rows(20), test=make_rows(5)))
    copy = tmp_path / "copy"
    shutil.copytree(dataset.folder, copy)
    card = json.loads((copy / "card.json").read_text())
    (copy / "card.json").write_text(json.dumps({**card, "format": 2}))
    with pytest.raises(DataError, match=r"format 2 is not 1; ingest it again"):
        load_dataset(copy)
    (copy / "dev.parquet").unlink()
    with pytest.raises(DataError, match=r"is no dataset, since dev\.parquet is not there"):
        load_dataset(copy)


def test_card_names_no_place_of_this_machine_but_the_source(
    load: Load, write_jsonl: WriteJsonl, make_rows: MakeRows
) -> None:
    dataset = load(write_jsonl(train=make_rows(20), test=make_rows(5)))
    assert "uri" not in dataset.card["config"]
    assert dataset.card["source"]["uri"].endswith("{split}.jsonl")
    assert dataset.name == dataset.card["name"] == "tickets"
    assert dataset.card["version"] == dataset.folder.name


def test_dataset_travels_through_s3(
    swift: Any, make_slice: MakeSlice, write_jsonl: WriteJsonl, make_rows: MakeRows, tmp_path: Path
) -> None:
    config = write_jsonl(train=make_rows(20), test=make_rows(5))
    for split in ("train", "test"):
        storage.write_bytes(f"{swift.uri}/in/{split}.jsonl", (tmp_path / f"{split}.jsonl").read_bytes())
    slice = make_slice({**config, "uri": f"{swift.uri}/in/{{split}}.jsonl"})
    uri = ingest(slice, storage=f"{swift.uri}/out", version=source_version(slice))
    with storage.local_copy(uri) as folder:
        dataset = load_dataset(folder)
        assert [len(dataset.rows(split)) for split in SPLITS] == [18, 2, 5]
