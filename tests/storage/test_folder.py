from __future__ import annotations

import os
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from taskmix import storage
from taskmix.errors import AlreadyExists, NotFound, StorageError

WRITE_FOREVER = """
import sys, pathlib
from taskmix import storage
pipe = pathlib.Path(sys.argv[1])
storage.open_store(sys.argv[2]).upload(pipe, "weights")
"""


def test_a_local_copy_of_a_folder_is_the_folder_itself(folder: Path, tmp_path: Path) -> None:
    storage.publish(folder, str(tmp_path / "storage"))
    with storage.local_copy(str(tmp_path / "storage")) as copy:
        assert copy == tmp_path / "storage"


def test_file_uris_and_home_are_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    storage.write_bytes(f"file://{tmp_path}/with%20space/a", b"1")
    assert (tmp_path / "with space" / "a").read_bytes() == b"1"
    storage.write_bytes("~/b", b"2")
    assert (tmp_path / "b").read_bytes() == b"2"


def test_a_relative_folder_starts_where_the_user_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    storage.write_bytes("runs/a", b"1")
    storage.write_bytes("b", b"2")
    assert [info.key for info in storage.list_objects(".")] == ["b", "runs/a"]


def test_what_a_dead_writer_left_is_unseen_and_cleared(tmp_path: Path) -> None:
    pipe, root = tmp_path / "pipe", tmp_path / "storage"
    os.mkfifo(pipe)
    writer = subprocess.Popen([sys.executable, "-c", WRITE_FOREVER, str(pipe), str(root)])
    with pipe.open("wb", buffering=0) as source:
        source.write(b"half")
        while not list(root.glob(".*.partial")):
            assert writer.poll() is None
        store = storage.open_store(str(root))
        store.clear_leftovers()  # its writer lives
        assert len(list(root.glob(".*.partial"))) == 1
        writer.kill()
        writer.wait()
    assert list(store.list()) == []
    store.clear_leftovers()
    assert list(root.iterdir()) == []


def test_what_another_machine_left_is_cleared_when_it_is_old(tmp_path: Path) -> None:
    left = tmp_path / ".elsewhere-17-abc.partial"
    left.touch()
    store = storage.open_store(str(tmp_path))
    store.clear_leftovers()
    assert left.exists()
    store.clear_leftovers(older_than=timedelta(0))
    assert not left.exists()


def test_one_of_many_writers_of_one_object_wins(tmp_path: Path) -> None:
    store, writers = storage.open_store(str(tmp_path)), 8
    start, outcomes = threading.Barrier(writers), []

    def write(number: int) -> None:
        start.wait()
        try:
            store.write("champion", str(number).encode(), if_absent=True)
            outcomes.append(number)
        except AlreadyExists:
            outcomes.append(None)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = [number for number in outcomes if number is not None]
    assert store.read("champion") == str(winner).encode()


def test_a_failed_upload_leaves_what_was_there(tmp_path: Path) -> None:
    store = storage.open_store(str(tmp_path / "storage"))
    store.write("a", b"before")
    with pytest.raises(NotFound, match="absent: cannot read: there is no such file"):
        store.upload(tmp_path / "absent", "a")
    assert store.read("a") == b"before"
    assert [path.name for path in (tmp_path / "storage").iterdir()] == ["a"]


def test_a_file_in_the_way_of_a_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="in each other's way; choose another path"):
        storage.write_bytes(str(tmp_path / "file" / "a"), b"")
    with pytest.raises(StorageError, match="in each other's way; choose another path"):
        list(storage.list_objects(str(tmp_path / "file")))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_volume_is_told(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"x" * 100_000)
    storage.write_bytes(str(tmp_path / "storage" / "a"), b"x")
    with pytest.raises(StorageError, match="No space left on device; free some space or choose another volume"):
        storage.open_store(str(tmp_path / "storage")).download("a", Path("/dev/full"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match="permission denied; change its owner or mode"):
        storage.write_bytes(str(tmp_path / "a"), b"")
