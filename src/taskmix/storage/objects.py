"""What every store can do: objects by key below a root, in a folder or in a bucket."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

OnBytes = Callable[[int], None]
"""Told how many more bytes have travelled; called from several threads."""


LEFTOVER_AGE = timedelta(days=1)
"""No writer is at one object for so long; an arbitrary number."""


def ignore_bytes(count: int) -> None:
    """Take note of nothing: the `OnBytes` of a transfer that nobody watches."""


@dataclass(frozen=True)
class ObjectInfo:
    """What a listing says of one object."""

    key: str
    """Below the store's root, parted by `/`."""
    size: int
    """Bytes."""
    etag: str
    """Changes when the content does; of a folder's file, made of its size and time of change."""
    modified: datetime
    """With time zone."""


class Store(Protocol):
    """Objects by key below a root.

    Every method raises `StorageError` when storage cannot be reached or refuses, and when a key would leave the root.
    An object is there as a whole or not at all, whenever its writer dies.
    """

    @property
    def uri(self) -> str:
        """The root, as users write it."""

    def read(self, key: str) -> bytes:
        """Return an object's bytes; `NotFound` if absent."""

    def write(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
        """Write an object, replacing what was there; with `if_absent`, `AlreadyExists` instead of replacing."""

    def exists(self, key: str) -> bool:
        """Say whether there is an object of exactly this key."""

    def info(self, key: str) -> ObjectInfo:
        """Return what is known of one object; `NotFound` if absent."""

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield the objects below the folder `prefix` (all, if empty), sorted by key; none if it is absent."""

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; those that are not there are no error."""

    def upload(self, path: Path, key: str, *, on_bytes: OnBytes = ignore_bytes) -> None:
        """Copy a local file to an object, replacing what was there."""

    def download(self, key: str, path: Path, *, size: int | None = None, on_bytes: OnBytes = ignore_bytes) -> None:
        """Copy an object to a local file whose folder exists; `NotFound` if absent.

        Args:
            key: the object.
            path: the file, replaced if there.
            size: how many bytes to expect, where the caller knows: spares asking for it.
            on_bytes: told of the bytes as they arrive.
        """

    def copy_from(self, source: Store, key_there: str, key: str) -> None:
        """Copy an object of another store to this one, within the service where both lie in the same one."""

    def clear_leftovers(self, *, older_than: timedelta = LEFTOVER_AGE) -> None:
        """Remove what dead writers left behind half written, which no listing shows.

        Args:
            older_than: how old it must be where its writer cannot be asked whether he lives.
        """

    def local_path(self, key: str = "") -> Path | None:
        """Return where the object (or the root) lies on this machine; None if it does not."""


def copy_through_here(source: Store, key_there: str, target: Store, key: str) -> None:
    """Copy an object between stores by way of this machine's disk."""
    in_place = source.local_path(key_there)
    if in_place is not None:
        target.upload(in_place, key)
        return
    with tempfile.TemporaryDirectory(prefix="taskmix-") as folder:
        path = Path(folder) / "object"
        source.download(key_there, path)
        target.upload(path, key)
