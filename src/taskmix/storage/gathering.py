"""A published folder made of others: their objects copied below it, without being read where the service can copy.

What a reader needs in one place (a served system: several bundles and a record) becomes one folder, write-once and with
a manifest like every other. The parts' own manifests come along, so that each part stays a published folder too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from taskmix.errors import AlreadyExists, StorageError
from taskmix.storage.access import open_store
from taskmix.storage.manifest import (
    MANIFEST,
    Manifest,
    ManifestEntry,
    first_difference,
    parse_manifest,
    render_manifest,
)
from taskmix.storage.objects import Store
from taskmix.storage.publishing import is_complete, read_manifest


def gather(parts: Mapping[str, str], uri: str, *, files: Mapping[str, bytes], about: Mapping[str, str]) -> Manifest:
    """Copy published folders below a new one, which is complete when its manifest lies there, written last.

    Gathering the same content again changes nothing, and what a dead gatherer left half is made whole.

    Args:
        parts: name below the new folder to the URI of a published one.
        uri: the new folder.
        files: name to content, of what the new folder holds besides.
        about: what to tell of it in the manifest; no part of the content.

    Raises:
        NotFound: a part is not there.
        Incomplete: a part has no manifest.
        AlreadyExists: a complete folder of other content lies there.
        StorageError: an object is empty: KServe's storage initializer would leave it out.
    """
    target = open_store(uri)
    sources = {name: (open_store(part), read_manifest(part)) for name, part in parts.items()}
    entries = [_entry(name, data) for name, data in files.items()]
    for name, (source, manifest) in sources.items():
        entries += [ManifestEntry(f"{name}/{entry.name}", entry.bytes, entry.sha256) for entry in manifest.files]
        entries.append(_entry(f"{name}/{MANIFEST}", source.read(MANIFEST)))
    content = tuple(sorted(entries, key=lambda entry: entry.name))
    _refuse_empty(content, uri=target.uri)
    if is_complete(uri):
        return _same(content, uri)
    for name, (source, manifest) in sources.items():
        for key in [*(entry.name for entry in manifest.files), MANIFEST]:
            target.copy_from(source, key, f"{name}/{key}")
    for name, data in files.items():
        target.write(name, data)
    return _finish(target, content, about=about, uri=uri)


def _finish(target: Store, content: tuple[ManifestEntry, ...], *, about: Mapping[str, str], uri: str) -> Manifest:
    data = render_manifest(content, about)
    try:
        target.write(MANIFEST, data, if_absent=True)
    except AlreadyExists:  # another gatherer was faster
        return _same(content, uri)
    return parse_manifest(data, uri=target.uri)


def _entry(name: str, data: bytes) -> ManifestEntry:
    return ManifestEntry(name, len(data), hashlib.sha256(data).hexdigest())


def _refuse_empty(content: tuple[ManifestEntry, ...], *, uri: str) -> None:
    empty = [entry.name for entry in content if not entry.bytes]
    if empty:
        raise StorageError(
            f"{uri}: {empty[0]} would be empty, and KServe leaves empty objects out when it brings a folder to a "
            "server, which would then find it corrupt; train the bundle again"
        )


def _same(content: tuple[ManifestEntry, ...], uri: str) -> Manifest:
    existing = read_manifest(uri)
    difference = first_difference(content, existing.files)
    if difference:
        raise AlreadyExists(f"{uri}: complete with other content ({difference}); gather elsewhere, or delete it first")
    return existing
