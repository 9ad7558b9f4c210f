"""Files out of a tar archive, in memory: nothing is ever unpacked to disk.

A damaged archive is told as such, also where Python's tarfile would end quietly: the whole stream is read, so that
gzip's own checksum is verified.
"""

from __future__ import annotations

import gzip
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from taskmix.errors import Corrupt, DataError

_CHUNK = 1 << 20
_GZIP = b"\x1f\x8b"
"""First bytes of a gzip file (RFC 1952)."""
_BROKEN = (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError)


def read_members(path: Path, *, uri: str, wanted: Callable[[str], bool], max_bytes: int) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each regular file that is wanted.

    Args:
        path: the archive, tar or tar.gz, here.
        uri: what it is called in errors.
        wanted: says of a member's name whether it is yielded.
        max_bytes: of one member; a longer one is no part of an honest archive and would fill the memory.

    Raises:
        Corrupt: the archive is truncated, fails its checksum, or is no tar archive.
        DataError: a member's name is absolute or climbs out of the archive (`..`), or it is longer than `max_bytes`.
    """
    try:
        with path.open("rb") as raw, _unzipped(raw) as stream:
            with tarfile.open(fileobj=stream, mode="r|") as archive:
                for member in archive:
                    _check_name(member.name, uri=uri)
                    if not member.isfile() or not wanted(member.name):
                        continue
                    if member.size > max_bytes:
                        raise DataError(
                            f"{uri}: member {member.name!r} has {member.size:,} bytes, more than {max_bytes:,}; "
                            "take the official archive"
                        )
                    content = archive.extractfile(member)
                    assert content is not None, "a regular file has content"
                    yield member.name, content.read()
            while stream.read(_CHUNK):
                pass
    except _BROKEN as error:
        raise Corrupt(
            f"{uri}: is damaged or no tar.gz archive ({error or type(error).__name__}); fetch it again and compare its "
            "size or checksum with the publisher's"
        ) from error


def is_archive(path: Path) -> bool:
    """Whether a file begins as gzip or is a tar archive, whatever its name; it may still be damaged."""
    with path.open("rb") as file:
        return file.read(2) == _GZIP or tarfile.is_tarfile(path)


def _unzipped(raw: IO[bytes]) -> IO[bytes]:
    magic = raw.read(2)
    raw.seek(0)
    return gzip.GzipFile(fileobj=raw) if magic == _GZIP else raw  # type: ignore[return-value]  # an IO[bytes] but by name


def _check_name(name: str, *, uri: str) -> None:
    parts = PurePosixPath(name).parts
    if name.startswith("/") or ".." in parts or "\\" in name:
        raise DataError(
            f"{uri}: member {name!r} points outside the archive, which no official archive does; do not trust this "
            "file, fetch it from its publisher"
        )
