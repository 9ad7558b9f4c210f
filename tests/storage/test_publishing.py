from __future__ import annotations

import hashlib
import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from taskmix import storage
from taskmix.errors import AlreadyExists, Corrupt, Incomplete, NotFound, StorageError


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != storage.MANIFEST
    }


def test_a_published_folder_comes_back_byte_for_byte(root: str, folder: Path) -> None:
    uri = storage.join(root, "datasets/d/1")
    storage.publish(folder, uri)
    with storage.local_copy(uri) as copy:
        assert contents(copy) == contents(folder)


def test_the_manifest_names_every_file_with_size_and_sha256(root: str, folder: Path) -> None:
    manifest = storage.publish(folder, root, about={"step": "ingest"})
    expected = {name: (len(data), hashlib.sha256(data).hexdigest()) for name, data in contents(folder).items()}
    assert {entry.name: (entry.bytes, entry.sha256) for entry in manifest.files} == expected
    assert manifest.about == {"step": "ingest"}
    data = storage.read_bytes(storage.join(root, storage.MANIFEST))
    assert manifest.sha256 == hashlib.sha256(data).hexdigest()
    assert storage.read_manifest(root) == manifest


def test_a_download_goes_when_it_is_no_longer_needed(root: str, folder: Path) -> None:
    storage.publish(folder, root)
    with storage.local_copy(root) as copy:
        in_place = copy == storage.open_store(root).local_path()
    assert copy.exists() == in_place


def test_the_same_content_again_changes_nothing(root: str, folder: Path) -> None:
    first = storage.publish(folder, root, about={"run": "1"})
    before = list(storage.list_objects(root))
    assert storage.publish(folder, root, about={"run": "2"}) == first
    assert list(storage.list_objects(root)) == before


def test_a_published_copy_can_be_published_again_elsewhere(root: str, folder: Path) -> None:
    first = storage.publish(folder, storage.join(root, "a"))
    with storage.local_copy(storage.join(root, "a")) as copy:
        assert storage.publish(copy, storage.join(root, "b")) == first


def test_other_content_is_refused_and_what_differs_is_named(root: str, folder: Path) -> None:
    first = storage.publish(folder, root)
    (folder / "weights.safetensors").write_bytes(b"other")
    with pytest.raises(AlreadyExists, match=r"complete with other content \(weights\.safetensors has 10240 bytes"):
        storage.publish(folder, root)
    (folder / "more").touch()
    with pytest.raises(AlreadyExists, match=r"more is only in what was to be published"):
        storage.publish(folder, root)
    assert storage.read_manifest(root) == first


def test_a_folder_without_its_manifest_is_never_believed(root: str, folder: Path) -> None:
    storage.publish(folder, root)
    storage.open_store(root).delete([storage.MANIFEST])
    assert not storage.is_complete(root)
    message = r"holds objects \(nested/.*\) but no MANIFEST\.json: its writer has not finished or was stopped"
    with pytest.raises(Incomplete, match=message):
        storage.read_manifest(root)
    with pytest.raises(Incomplete, match=message), storage.local_copy(root):
        pass


def test_a_half_folder_is_written_anew(root: str, folder: Path) -> None:
    storage.write_bytes(storage.join(root, "weights.safetensors"), b"half of the wei")
    storage.publish(folder, root)
    with storage.local_copy(root) as copy:
        assert contents(copy) == contents(folder)


def test_nothing_there_is_not_found(root: str) -> None:
    assert not storage.is_complete(root)
    with pytest.raises(NotFound, match="nothing lies there; correct the URI, or run the step that writes it"):
        storage.read_manifest(root)


def test_other_bytes_of_the_same_size_are_found(root: str, folder: Path) -> None:
    storage.publish(folder, root)
    data = storage.read_bytes(storage.join(root, "weights.safetensors"))
    storage.open_store(root).write("weights.safetensors", data[:-1] + b"\x00")
    with (
        pytest.raises(Corrupt, match=r"weights\.safetensors: not what was published: its sha256 is"),
        storage.local_copy(root),
    ):
        pass


def test_a_short_object_is_found(root: str, folder: Path) -> None:
    storage.publish(folder, root)
    storage.open_store(root).write("weights.safetensors", b"short")
    with pytest.raises(Corrupt, match="it has 5 bytes, 10240 were published"), storage.local_copy(root):
        pass


def test_an_object_that_is_gone_is_found(root: str, folder: Path) -> None:
    storage.publish(folder, root)
    storage.open_store(root).delete(["nested/empty"])
    with pytest.raises(Corrupt, match="nested/empty: not what was published: it is absent"), storage.local_copy(root):
        pass


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b'{"format": 1}', b'{"format": 1, "about": {}, "files": [{"name": "a"}]}'],
)
def test_a_manifest_that_cannot_be_read_is_corrupt(root: str, data: bytes) -> None:
    storage.write_bytes(storage.join(root, storage.MANIFEST), data)
    with pytest.raises(Corrupt, match=r"MANIFEST\.json cannot be read .*delete the folder and publish it again"):
        storage.read_manifest(root)


def test_a_manifest_may_not_name_what_lies_outside(root: str) -> None:
    entry = {"name": "../../etc/passwd", "bytes": 1, "sha256": "0" * 64}
    value = {"format": 1, "about": {}, "files": [entry]}
    storage.write_bytes(storage.join(root, storage.MANIFEST), json.dumps(value).encode())
    with pytest.raises(Corrupt, match="names an object outside its folder"), storage.local_copy(root):
        pass


def test_a_later_manifest_format_asks_for_an_upgrade(root: str) -> None:
    storage.write_json(storage.join(root, storage.MANIFEST), {"format": 2})
    with pytest.raises(StorageError, match="manifest format 2, this version reads 1; upgrade taskmix"):
        storage.read_manifest(root)


def test_an_empty_or_absent_folder_cannot_be_published(root: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(StorageError, match="holds no files; there is nothing to publish"):
        storage.publish(tmp_path / "empty", root)
    with pytest.raises(NotFound, match="no such folder to publish"):
        storage.publish(tmp_path / "absent", root)


def test_racing_publishers_of_the_same_content_all_succeed(root: str, folder: Path) -> None:
    publishers = 6
    start = threading.Barrier(publishers)

    def race(_: int) -> storage.Manifest:
        start.wait()
        return storage.publish(folder, root)

    with ThreadPoolExecutor(publishers) as pool:
        manifests = list(pool.map(race, range(publishers)))
    assert len(set(manifest.sha256 for manifest in manifests)) == 1
    with storage.local_copy(root) as copy:
        assert contents(copy) == contents(folder)


def test_a_killed_upload_leaves_an_incomplete_folder_that_the_next_one_completes(root: str, tmp_path: Path) -> None:
    folder = tmp_path / "many files"
    folder.mkdir()
    count = 120 if root.startswith("s3") else 400  # enough for the kill to come in the middle
    for number in range(count):
        (folder / f"part-{number:04d}").write_bytes(number.to_bytes(4, "big") * 256)
    program = (
        "import sys, pathlib; from taskmix import storage; storage.publish(pathlib.Path(sys.argv[1]), sys.argv[2])"
    )
    store = storage.open_store(root)
    publisher = subprocess.Popen([sys.executable, "-c", program, str(folder), root])
    while not store.exists("part-0000"):
        assert publisher.poll() is None
        time.sleep(0.001)
    publisher.send_signal(signal.SIGKILL)
    assert publisher.wait() == -signal.SIGKILL
    with pytest.raises(Incomplete):
        storage.read_manifest(root)
    half = sum(1 for _ in storage.list_objects(root))
    assert 0 < half < count
    storage.publish(folder, root)
    with storage.local_copy(root) as copy:
        assert contents(copy) == contents(folder)


def test_a_kill_while_deleting_cannot_leave_a_folder_that_looks_complete(root: str, folder: Path) -> None:
    storage.publish(folder, storage.join(root, "job/bundle"))
    storage.delete_prefix(storage.join(root, "job"))
    assert list(storage.list_objects(root)) == []
    shutil.rmtree(folder)  # deleting asked nothing of the source
    assert not storage.is_complete(storage.join(root, "job/bundle"))
