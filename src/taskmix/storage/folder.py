"""A store in a folder: of a laptop, or of a volume that all steps mount."""

from __future__ import annotations

import errno
import os
import re
import secrets
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

from taskmix.errors import AlreadyExists, NotFound, StorageError
from taskmix.storage.objects import LEFTOVER_AGE, ObjectInfo, OnBytes, Store, copy_through_here, ignore_bytes
from taskmix.storage.uris import check_key

PARTIAL = ".partial"
"""How names of files end that are still being written; listings leave them out."""
_HOST = re.sub(r"[^A-Za-z0-9]", "", socket.gethostname())[:100]
_WRITER = re.compile(rf"\.(?P<host>[A-Za-z0-9]*)-(?P<pid>\d+)-[0-9a-f]+{re.escape(PARTIAL)}")
_CHUNK_BYTES = 8 * 2**20


class FolderStore:
    """Objects as files below a root folder. Writes go to a temporary file beside the target, then take its name."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def uri(self) -> str:
        """The root's path."""
        return str(self.root)

    def read(self, key: str) -> bytes:
        """See `Store.read`."""
        path = self._path(key)
        with _told("read", path):
            return path.read_bytes()

    def write(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
        """See `Store.write`."""
        with self._new(key, if_absent=if_absent) as file:
            file.write(data)

    def exists(self, key: str) -> bool:
        """See `Store.exists`."""
        path = self._path(key)
        with _told("read", path):
            return path.is_file()

    def info(self, key: str) -> ObjectInfo:
        """See `Store.info`."""
        path = self._path(key)
        with _told("read", path):
            if not path.is_file():
                raise FileNotFoundError(path)
            return _info(key, path)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """See `Store.list`."""
        folder = self._path(prefix) if prefix else self.root
        with _told("list", folder):
            if folder.exists() and not folder.is_dir():
                raise NotADirectoryError(folder)
            paths = {path.relative_to(self.root).as_posix(): path for path in folder.rglob("*") if _is_object(path)}
        for key in sorted(paths):
            with suppress(FileNotFoundError):  # deleted since
                yield _info(key, paths[key])

    def delete(self, keys: Iterable[str]) -> None:
        """See `Store.delete`; folders that become empty go too."""
        for key in keys:
            path = self._path(key)
            with _told("delete", path):
                path.unlink(missing_ok=True)
            with suppress(OSError):  # not empty: other objects live there
                for folder in (path.parent, *path.parent.parents):
                    folder.rmdir()
                    if folder == self.root:
                        break

    def upload(self, path: Path, key: str, *, on_bytes: OnBytes = ignore_bytes) -> None:
        """See `Store.upload`."""
        with _told("read", path), path.open("rb") as source, self._new(key) as target:
            _copy(source, target, on_bytes)

    def download(self, key: str, path: Path, *, size: int | None = None, on_bytes: OnBytes = ignore_bytes) -> None:
        """See `Store.download`."""
        origin = self._path(key)
        with _told("read", origin), origin.open("rb") as source, path.open("wb") as target:
            _copy(source, target, on_bytes)

    def copy_from(self, source: Store, key_there: str, key: str) -> None:
        """See `Store.copy_from`."""
        copy_through_here(source, key_there, self, key)

    def clear_leftovers(self, *, older_than: timedelta = LEFTOVER_AGE) -> None:
        """See `Store.clear_leftovers`; a writer of this machine is asked whether he lives."""
        with _told("clear", self.root):
            for path in self.root.rglob(f".*{PARTIAL}"):
                with suppress(FileNotFoundError):  # its writer has just finished
                    age_s = time.time() - path.stat().st_mtime
                    if _writer_is_dead(path) or age_s > older_than.total_seconds():
                        path.unlink()

    def local_path(self, key: str = "") -> Path | None:
        """See `Store.local_path`."""
        return self._path(key) if key else self.root

    def _path(self, key: str) -> Path:
        return self.root / check_key(key, uri=self.uri)

    @contextmanager
    def _new(self, key: str, *, if_absent: bool = False) -> Iterator[BinaryIO]:
        """Open a temporary file that becomes the object when the block ends well, and goes when it does not."""
        target = self._path(key)
        partial = target.with_name(f".{_HOST}-{os.getpid()}-{secrets.token_hex(6)}{PARTIAL}")
        with _told("write", target):
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                with partial.open("xb") as file:
                    yield file
                    file.flush()
                    os.fsync(file.fileno())  # else a power cut could leave the name without the bytes
                if if_absent:
                    os.link(partial, target)  # fails if the name is taken, where a rename would replace
                else:
                    partial.replace(target)
                _sync_folder(target.parent)
            finally:
                partial.unlink(missing_ok=True)


def _copy(source: BinaryIO, target: BinaryIO, on_bytes: OnBytes) -> None:
    while chunk := source.read(_CHUNK_BYTES):
        target.write(chunk)
        on_bytes(len(chunk))


def _writer_is_dead(partial: Path) -> bool:
    """Say whether the process that was writing `partial` is known to be gone; False for other machines' processes."""
    writer = _WRITER.fullmatch(partial.name)
    if not writer or writer["host"] != _HOST:
        return False
    try:
        os.kill(int(writer["pid"]), 0)  # signal 0 asks whether the process exists
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        return False
    return False


def _is_object(path: Path) -> bool:
    return path.is_file() and not (path.name.startswith(".") and path.name.endswith(PARTIAL))


def _info(key: str, path: Path) -> ObjectInfo:
    stat = path.stat()
    etag = f"{stat.st_size:x}-{stat.st_mtime_ns:x}"
    return ObjectInfo(key=key, size=stat.st_size, etag=etag, modified=datetime.fromtimestamp(stat.st_mtime, UTC))


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _told(action: str, path: Path) -> Iterator[None]:
    """Turn the operating system's refusals into errors of ours that say what to do."""
    try:
        yield
    except FileNotFoundError as error:
        raise NotFound(f"{path}: cannot {action}: there is no such file; correct the path") from error
    except FileExistsError as error:
        raise AlreadyExists(
            f"{path}: is there already and is written only once; delete it or take another name"
        ) from error
    except PermissionError as error:
        remedy = "change its owner or mode, or choose a folder of yours"
        raise StorageError(f"{path}: cannot {action}: permission denied; {remedy}") from error
    except (IsADirectoryError, NotADirectoryError) as error:
        remedy = "a folder and a file of the same name are in each other's way; choose another path"
        raise StorageError(f"{path}: cannot {action}: {remedy}") from error
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        remedy = "free some space or choose another volume" if full else "check the volume"
        raise StorageError(f"{path}: cannot {action}: {error.strerror or error}; {remedy}") from error
