import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest
from hub_server import COMMIT, running_hub

from taskmix.config.schema import HubDataset
from taskmix.data.dataset import Dataset
from taskmix.data.readers.hub import hub_version
from taskmix.data.schema import Span
from taskmix.errors import DataError, NotFound

Load = Callable[..., Dataset]
INTENT = {"intent": {"type": "classification", "label": "intent"}}


def write_folder(folder: Path, **splits: list[dict[str, Any]]) -> dict[str, Any]:
    folder.mkdir()
    for split, rows in splits.items():
        (folder / f"{split}.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    return {"format": "hub", "path": str(folder), "text": "text"}


def test_folder_in_the_form_of_the_hub_is_read(
    load: Load, tmp_path: Path, make_rows: Callable[..., list[dict[str, Any]]]
) -> None:
    config = write_folder(tmp_path / "data", train=make_rows(20), validation=make_rows(4), test=make_rows(6, start=30))
    dataset = load(config, INTENT)
    assert [len(dataset.rows(split)) for split in ("train", "dev", "test")] == [20, 4, 6]  # type: ignore[arg-type]
    assert dataset.rows("test")[0].text == "text number 30"
    assert dataset.rows("test")[0].id == "test/1"


def test_saved_dataset_gives_names_for_numbered_classes_and_tags(load: Load, tmp_path: Path) -> None:
    features = datasets.Features(
        {
            "tokens": datasets.List(datasets.Value("string")),
            "tags": datasets.List(datasets.ClassLabel(names=["O", "B-city", "I-city"])),
            "label": datasets.ClassLabel(names=["no", "yes"]),
        }
    )
    rows = {"tokens": [["to", "new", "york"], ["stop"]], "tags": [[0, 1, 2], [0]], "label": [1, 0]}
    hidden = {**rows, "label": [-1, 0]}
    table = datasets.Dataset.from_dict(rows, features=features)
    tests = datasets.Dataset.from_dict(hidden, features=features)
    saved = tmp_path / "saved"
    datasets.DatasetDict({"train": table, "validation": table, "test": tests}).save_to_disk(str(saved))
    tasks = {
        "label": {"type": "classification", "label": "label"},
        "slots": {"type": "slot_filling", "annotation": "tags"},
    }
    dataset = load({"format": "hub", "path": str(saved), "text": "tokens"}, tasks)
    [first, second] = dataset.rows("train")
    assert (first.text, first.labels) == ("to new york", {"label": "yes", "slots": (Span(1, 3, "city"),)})
    assert second.labels == {"label": "no", "slots": ()}
    assert dataset.rows("test")[0].labels == {"slots": (Span(1, 3, "city"),)}


def test_split_that_is_not_there_names_those_that_are(
    load: Load, tmp_path: Path, make_rows: Callable[..., list[dict[str, Any]]]
) -> None:
    config = write_folder(tmp_path / "data", train=make_rows(20), test=make_rows(4))
    with pytest.raises(
        DataError, match=r"has no split 'tests'; did you mean 'test'\?; it has train, test; correct splits"
    ):
        load({**config, "splits": {"train": "train", "test": "tests"}}, INTENT)
    with pytest.raises(DataError, match=r"'splits' names no test; the dataset has train, test"):
        load({**config, "splits": {"train": "train"}}, INTENT)


def test_dev_is_cut_where_the_hub_has_none(
    load: Load, tmp_path: Path, make_rows: Callable[..., list[dict[str, Any]]]
) -> None:
    dataset = load(write_folder(tmp_path / "data", train=make_rows(20), test=make_rows(4, start=50)), INTENT)
    assert [len(dataset.rows(split)) for split in ("train", "dev", "test")] == [18, 2, 4]  # type: ignore[arg-type]


@pytest.mark.parametrize("path", ["nowhere", "/no/such/folder", "a/b/c", "../x/y"])
def test_path_that_is_neither_folder_nor_hub_id_is_not_found(load: Load, path: str) -> None:
    with pytest.raises(NotFound, match=r"there is no such folder, and a hub dataset is written owner/name"):
        load({"format": "hub", "path": path, "text": "text"}, INTENT)


def test_folder_that_holds_no_dataset_is_refused(load: Load, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "notes.bin").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"the datasets library cannot read it \("):
        load({"format": "hub", "path": str(tmp_path / "data"), "text": "text"}, INTENT)


def test_dataset_that_brings_code_is_refused_and_its_code_not_run(load: Load, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "data.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()")
    with pytest.raises(DataError, match=r"the datasets library cannot read it"):
        load({"format": "hub", "path": str(folder), "text": "text"}, INTENT)
    assert not (tmp_path / "ran").exists()


def test_version_of_a_folder_changes_with_its_files_and_of_a_commit_never(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    config = HubDataset(format="hub", path=str(folder), text="text")
    (folder / "train.jsonl").write_text("{}")
    first = hub_version(config)
    (folder / "train.jsonl").write_text("{ }")
    assert hub_version(config) != first
    assert hub_version(HubDataset(format="hub", path="owner/name", revision=COMMIT, text="text")) == COMMIT


READ = """
import json, sys
from taskmix.config.schema import HubDataset
from taskmix.data.readers.hub import hub_version, read_hub
from taskmix.errors import TaskmixError
what, path, revision = sys.argv[1:]
config = HubDataset(format="hub", path=path, revision=revision or None, text="text")
try:
    if what == "version":
        answer = hub_version(config)
    else:
        answer = [[row.id, row.text, row.columns["intent"]] for row in read_hub(config)]
    print(json.dumps(answer))
except TaskmixError as error:
    print(json.dumps(f"{type(error).__name__}: {error}"))
"""


def ask_hub(endpoint: str | None, home: Path, what: str, *, path: str = "owner/name", revision: str = "") -> Any:
    """Read in a process of its own, since the hub's library looks at its variables when it is imported.

    Without an endpoint the library is told to be offline, which spares its half a minute of attempts.
    """
    variables = {"HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1"}
    variables |= {"HF_ENDPOINT": endpoint} if endpoint else {"HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", READ, what, path, revision]
    done = subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_dataset_of_the_hub_is_read_and_later_found_in_the_cache(tmp_path: Path) -> None:
    rows = [b'{"text": "%s", "intent": "%s"}\n' % pair for pair in ((b"a", b"x"), (b"b", b"y"))]
    expected = [["train/1", "a", "x"], ["train/2", "b", "y"], ["test/1", "b", "y"]]
    with running_hub("owner/name", files={"train.jsonl": rows[0] + rows[1], "test.jsonl": rows[1]}) as endpoint:
        assert ask_hub(endpoint, tmp_path, "version") == COMMIT
        assert ask_hub(endpoint, tmp_path, "rows", revision=COMMIT) == expected
    assert ask_hub(None, tmp_path, "rows", revision=COMMIT) == expected


@pytest.mark.parametrize("what", ["version", "rows"])
def test_dataset_that_the_hub_has_not_is_not_found(tmp_path: Path, what: str) -> None:
    with running_hub("owner/name", files={}) as endpoint:
        answer = ask_hub(endpoint, tmp_path, what, path="owner/nothing")
    assert answer.startswith("NotFound: owner/nothing: the hub has no such dataset or revision (main)")


@pytest.mark.parametrize("what", ["version", "rows"])
def test_hub_that_cannot_be_reached_says_what_to_do(tmp_path: Path, what: str) -> None:
    answer = ask_hub(None, tmp_path, what)
    assert answer.startswith("StorageError: owner/name: the hub cannot be reached")
    assert answer.endswith("or 'path' as a folder")
