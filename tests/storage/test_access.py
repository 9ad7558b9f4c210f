from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest

from taskmix import storage
from taskmix.errors import AlreadyExists, Corrupt, NotFound, StorageError


def test_what_was_written_is_read(root: str) -> None:
    storage.write_bytes(storage.join(root, "a/b.bin"), b"\x00\xff")
    assert storage.read_bytes(storage.join(root, "a", "b.bin")) == b"\x00\xff"
    assert storage.exists(f"{root}/a/b.bin")


def test_an_empty_object_is_an_object(root: str) -> None:
    storage.write_bytes(storage.join(root, "empty"), b"")
    assert storage.exists(storage.join(root, "empty"))
    assert storage.read_bytes(storage.join(root, "empty")) == b""


def test_a_folder_is_no_object(root: str) -> None:
    storage.write_bytes(storage.join(root, "a/b"), b"x")
    assert not storage.exists(storage.join(root, "a"))


def test_an_absent_object_is_not_found_and_the_message_names_it(root: str) -> None:
    uri = storage.join(root, "absent.json")
    assert not storage.exists(uri)
    with pytest.raises(NotFound, match=rf"{re.escape(uri)}: .*there is no such (file|object).*correct the"):
        storage.read_bytes(uri)


def test_other_content_is_refused_the_same_content_is_not(root: str) -> None:
    uri = storage.join(root, "once")
    storage.write_bytes(uri, b"one")
    storage.write_bytes(uri, b"one")
    with pytest.raises(AlreadyExists, match="once: is there already and is written only once; delete it"):
        storage.write_bytes(uri, b"two")
    assert storage.read_bytes(uri) == b"one"


def test_replace_replaces(root: str) -> None:
    uri = storage.join(root, "champion.json")
    storage.write_json(uri, {"run": 1})
    storage.write_json(uri, {"run": 2}, replace=True)
    assert storage.read_json(uri) == {"run": 2}


def test_json_is_written_sorted_and_readable(root: str) -> None:
    uri = storage.join(root, "value.json")
    storage.write_json(uri, {"b": [1, 2.5, None], "a": "größe"})
    assert storage.read_bytes(uri).decode() == ('{\n  "a": "größe",\n  "b": [\n    1,\n    2.5,\n    null\n  ]\n}\n')


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_that_are_not_json_are_refused(root: str, number: float) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        storage.write_json(storage.join(root, "value.json"), {"score": number})
    assert not storage.exists(storage.join(root, "value.json"))


def test_what_is_no_json_is_corrupt(root: str) -> None:
    uri = storage.join(root, "half.json")
    storage.write_bytes(uri, b'{"half": ')
    with pytest.raises(Corrupt, match=r"half\.json: is not JSON"):
        storage.read_json(uri)


def test_listing_is_sorted_and_sees_keys_from_its_root(root: str) -> None:
    for key in ("b/2", "b/10", "a", "b.txt", "c/d/e"):
        storage.write_bytes(storage.join(root, key), key.encode())
    found = list(storage.list_objects(root))
    assert [info.key for info in found] == ["a", "b.txt", "b/10", "b/2", "c/d/e"]
    assert [info.size for info in found] == [1, 5, 4, 3, 5]
    assert all(abs(info.modified - datetime.now(UTC)) < timedelta(minutes=5) for info in found)
    assert [info.key for info in storage.list_objects(storage.join(root, "b"))] == ["10", "2"]


def test_listing_a_prefix_leaves_out_its_longer_namesakes(root: str) -> None:
    storage.write_bytes(storage.join(root, "v1/model"), b"1")
    storage.write_bytes(storage.join(root, "v10/model"), b"10")
    assert [info.key for info in storage.open_store(root).list("v1")] == ["v1/model"]


def test_listing_nothing_yields_nothing(root: str) -> None:
    assert list(storage.list_objects(storage.join(root, "nowhere"))) == []


def test_an_etag_changes_with_the_content(root: str) -> None:
    store = storage.open_store(root)
    store.write("a", b"one")
    before = store.info("a")
    store.write("a", b"another")
    assert store.info("a").etag != before.etag


def test_deleting_a_prefix_takes_all_of_it_and_nothing_else(root: str) -> None:
    for key in ("jobs/a/x", "jobs/a/y/z", "jobs/ab/x"):
        storage.write_bytes(storage.join(root, key), b"1")
    storage.delete_prefix(storage.join(root, "jobs/a"))
    assert [info.key for info in storage.list_objects(root)] == ["jobs/ab/x"]
    storage.delete_prefix(storage.join(root, "jobs/a"))  # nothing left: no error


@pytest.mark.parametrize("key", ["../secret", "a/../../secret", "/etc/passwd", "a//b", ".", "a\\b", "a\nb", ""])
def test_keys_that_would_leave_the_root_are_refused(root: str, key: str) -> None:
    store = storage.open_store(root)
    for act in (
        store.read,
        store.exists,
        store.info,
        lambda key: store.write(key, b""),
        lambda key: store.delete([key]),
    ):
        with pytest.raises(StorageError, match=r"is not a key of storage: allowed are names"):
            act(key)


def test_an_unknown_kind_of_uri_is_refused() -> None:
    with pytest.raises(StorageError, match=r"gs://b/x: storage is s3://bucket/prefix or a folder's path, not gs://"):
        storage.open_store("gs://b/x")
    with pytest.raises(StorageError, match="the URI is empty"):
        storage.open_store("")
