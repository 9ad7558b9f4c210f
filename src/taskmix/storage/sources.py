"""Data that others wrote: one file from a folder, a bucket or a web server, and which version of it lies there."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from taskmix.errors import NotFound, StorageError
from taskmix.storage.access import open_object, open_store
from taskmix.storage.fingerprints import DIGITS, fingerprint
from taskmix.storage.manifest import describe_file
from taskmix.storage.progress import transfer_progress
from taskmix.storage.uris import folder_of, redact, scheme_of, split_last

_WEB = ("http", "https")


@contextmanager
def fetch_file(uri: str) -> Iterator[Path]:
    """Give one file as a local one, under its own name.

    Args:
        uri: a path, `s3://bucket/key`, or `http(s)://...`.

    Yields:
        The file itself where it is local (do not write to it), else a download that goes when the block ends.

    Raises:
        NotFound: it is not there.
        StorageError: it cannot be reached, or keeps arriving short.
    """
    if scheme_of(uri) in ("", "file"):
        path = folder_of(uri)
        if not path.is_file():
            what = "is a folder, not a file" if path.is_dir() else "there is no such file"
            raise NotFound(f"{path}: {what}; correct the path (relative paths start at {Path.cwd()})")
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="taskmix-") as folder:
        path = Path(folder) / _file_name(uri)
        if scheme_of(uri) in _WEB:
            from taskmix.storage.web import download  # httpx is slow to import: not for those who need no web

            download(uri, path)
        else:
            store, key = open_object(uri)
            size = store.info(key).size
            with transfer_progress(f"download {redact(uri)}", total_bytes=size) as on_bytes:
                store.download(key, path, size=size, on_bytes=on_bytes)
        yield path


def source_version(uri: str) -> str:
    """Return 16 hex digits that change when the content at `uri` does.

    Of a local file it is the hash of its bytes, of a local folder that of all its files; of `s3://`, keys, sizes and
    ETags (of the object, or of all below the prefix); of a web address ETag, date and size, or the hash of the
    bytes where the server tells none of them.

    Raises:
        NotFound: nothing is there.
        StorageError: it cannot be reached.
    """
    scheme = scheme_of(uri)
    if scheme in _WEB:
        from taskmix.storage.web import version

        return version(uri) or _hash_download(uri)
    if scheme in ("", "file"):
        return _local_version(folder_of(uri))
    return _store_version(uri)


def _local_version(path: Path) -> str:
    if path.is_file():
        return describe_file(path, path.name).sha256[:DIGITS]
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else []
    if not files:
        raise NotFound(f"{path}: there is no such file; correct the path (relative paths start at {Path.cwd()})")
    return fingerprint([(file.relative_to(path).as_posix(), describe_file(file, "").sha256) for file in files])


def _store_version(uri: str) -> str:
    try:
        store, key = open_object(uri)
        found = [store.info(key)]
    except NotFound:
        store = open_store(uri)
        found = list(store.list())
    if not found:
        raise NotFound(f"{redact(uri)}: there is no such object; correct the URI")
    return fingerprint([(info.key, info.size, info.etag) for info in found])


def _hash_download(uri: str) -> str:
    with fetch_file(uri) as path, path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:DIGITS]


def _file_name(uri: str) -> str:
    """Return the last part of a URI's path, which says by its suffix what the file is."""
    try:
        return split_last(redact(uri).removesuffix("?***"))[1]
    except StorageError:
        return "download"
