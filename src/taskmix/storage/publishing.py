"""Write-once folders: complete with their manifest, or absent; verified by whoever reads them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from taskmix.errors import AlreadyExists, Corrupt, Incomplete, NotFound, StorageError
from taskmix.storage.access import open_store
from taskmix.storage.manifest import (
    MANIFEST,
    Manifest,
    ManifestEntry,
    describe_file,
    first_difference,
    parse_manifest,
    render_manifest,
)
from taskmix.storage.objects import Store
from taskmix.storage.progress import transfer_progress

PARALLEL_FILES = 8
"""Files that travel at once; large ones are cut into parts besides (see `s3`)."""

Item = TypeVar("Item")


def publish(folder: Path, uri: str, *, about: Mapping[str, str] = MappingProxyType({})) -> Manifest:
    """Copy a local folder to storage, where it is complete only when its manifest lies there, written last.

    Publishing the same content again changes nothing; what a dead writer left half is written anew. Any number may
    publish the same content at once. Of those who publish different content at once, one wins at most; should their
    objects have got mixed, readers find out (`Corrupt`).

    Args:
        folder: the local folder; all files below it, symbolic links followed. Its own `MANIFEST.json` is left out.
        uri: where its content shall lie.
        about: what to tell of it in the manifest; no part of the content.

    Returns:
        The manifest that now lies there: an earlier publisher's, if he published the same.

    Raises:
        AlreadyExists: a complete folder of other content lies there.
        NotFound: `folder` is not there.
        StorageError: `folder` is empty, or storage refuses.
    """
    files = _describe(folder)
    store = open_store(uri)
    if existing := _read_if_complete(store):
        return _same_or_refuse(files, existing, uri=store.uri)
    store.clear_leftovers()
    with transfer_progress(f"upload {store.uri}", total_bytes=sum(entry.bytes for entry in files)) as on_bytes:
        _each(files, lambda entry: store.upload(folder / entry.name, entry.name, on_bytes=on_bytes))
    data = render_manifest(files, about)
    try:
        store.write(MANIFEST, data, if_absent=True)
    except AlreadyExists:  # another publisher was faster
        return _same_or_refuse(files, read_manifest(uri), uri=store.uri)
    return parse_manifest(data, uri=store.uri)


def read_manifest(uri: str) -> Manifest:
    """Return the manifest of a published folder.

    Raises:
        NotFound: nothing lies there.
        Incomplete: objects lie there without a manifest: the writer has not finished, or never will.
        Corrupt: the manifest cannot be read.
    """
    store = open_store(uri)
    manifest = _read_if_complete(store)
    if manifest:
        return manifest
    first = next(store.list(), None)
    if first is None:
        raise NotFound(f"{store.uri}: nothing lies there; correct the URI, or run the step that writes it")
    raise Incomplete(
        f"{store.uri}: holds objects ({first.key}, ...) but no {MANIFEST}: its writer has not finished or was stopped; "
        "wait for it, or run the step that writes it again"
    )


def is_complete(uri: str) -> bool:
    """Say whether a complete folder lies there; its objects are not verified, `local_copy` does that."""
    return _read_if_complete(open_store(uri)) is not None


@contextmanager
def local_copy(uri: str) -> Iterator[Path]:
    """Give a published folder as a local one, every file verified against the manifest.

    Yields:
        The folder itself where storage is one (do not write to it), else a download that goes when the block ends.

    Raises:
        NotFound: nothing lies there.
        Incomplete: its manifest is absent.
        Corrupt: a file is absent or its bytes are not those of the manifest.
    """
    store, manifest = open_store(uri), read_manifest(uri)
    in_place = store.local_path()
    if in_place is not None:
        _each(manifest.files, lambda entry: _verify(in_place / entry.name, entry, uri=store.uri))
        yield in_place
        return
    with tempfile.TemporaryDirectory(prefix="taskmix-") as name:
        _download(store, manifest, Path(name))
        yield Path(name)


def _download(store: Store, manifest: Manifest, folder: Path) -> None:
    with transfer_progress(f"download {store.uri}", total_bytes=manifest.bytes) as on_bytes:

        def bring(entry: ManifestEntry) -> None:
            path = folder / entry.name
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                store.download(entry.name, path, size=entry.bytes, on_bytes=on_bytes)
            except NotFound as error:
                raise _corrupt(store.uri, entry, "it is absent") from error
            _verify(path, entry, uri=store.uri)

        _each(manifest.files, bring)


def _verify(path: Path, entry: ManifestEntry, *, uri: str) -> None:
    if not path.is_file():
        raise _corrupt(uri, entry, "it is absent")
    found = describe_file(path, entry.name)
    if found.bytes != entry.bytes:
        raise _corrupt(uri, entry, f"it has {found.bytes} bytes, {entry.bytes} were published")
    if found.sha256 != entry.sha256:
        raise _corrupt(uri, entry, f"its sha256 is {found.sha256[:12]}..., {entry.sha256[:12]}... was published")


def _corrupt(uri: str, entry: ManifestEntry, what: str) -> Corrupt:
    remedy = "delete the folder and run the step that writes it again"
    return Corrupt(f"{uri}/{entry.name}: not what was published: {what}; {remedy}")


def _describe(folder: Path) -> tuple[ManifestEntry, ...]:
    if not folder.is_dir():
        raise NotFound(f"{folder}: no such folder to publish; correct the path")
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    paths.pop(MANIFEST, None)
    if not paths:
        raise StorageError(f"{folder}: holds no files; there is nothing to publish")
    return tuple(describe_file(paths[name], name) for name in sorted(paths))


def _read_if_complete(store: Store) -> Manifest | None:
    try:
        return parse_manifest(store.read(MANIFEST), uri=store.uri)
    except NotFound:
        return None


def _same_or_refuse(files: tuple[ManifestEntry, ...], existing: Manifest, *, uri: str) -> Manifest:
    difference = first_difference(files, existing.files)
    if difference:
        remedy = "published folders never change: publish elsewhere, or delete this one first"
        raise AlreadyExists(f"{uri}: complete with other content ({difference}); {remedy}")
    return existing


def _each(items: Sequence[Item], act: Callable[[Item], None]) -> None:
    """Call `act` for every item, several at once; the first error stops those not yet begun and is raised."""
    with ThreadPoolExecutor(max_workers=PARALLEL_FILES, thread_name_prefix="storage") as pool:
        try:
            done, _ = wait([pool.submit(act, item) for item in items], return_when=FIRST_EXCEPTION)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        for future in done:
            future.result()
