"""Every fault of a published folder, not only the first: for whoever must tell what was changed since."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

from taskmix.errors import Corrupt, NotFound
from taskmix.storage.access import open_object, open_store
from taskmix.storage.manifest import MANIFEST, ManifestEntry, describe_file, parse_manifest
from taskmix.storage.objects import Store


def folder_faults(uri: str, *, manifest_sha256: str) -> list[str]:
    """Hash a published folder again; one sentence for each thing that is not what was published, none if all is.

    Args:
        uri: the folder.
        manifest_sha256: of its manifest when it was published. What the manifest says is believed only if it is that.

    Raises:
        StorageError: storage cannot be reached.
    """
    store = open_store(uri)
    try:
        data = store.read(MANIFEST)
    except NotFound:
        return [f"{store.uri}: its {MANIFEST} is absent"]
    faults = []
    found = hashlib.sha256(data).hexdigest()
    if found != manifest_sha256:
        faults.append(f"{store.uri}/{MANIFEST}: {_changed(found, manifest_sha256)}")
    try:
        files = parse_manifest(data, uri=store.uri).files
    except Corrupt as error:
        return [*faults, str(error)]
    with tempfile.TemporaryDirectory(prefix="taskmix-audit-") as scratch:
        for entry in files:
            faults += _file_faults(store, entry, scratch=Path(scratch))
    named = {MANIFEST, *(entry.name for entry in files)}
    strangers = [info.key for info in store.list() if info.key not in named]
    return faults + [f"{store.uri}/{key}: was not published: the manifest does not name it" for key in strangers]


def object_faults(uri: str, *, sha256: str) -> list[str]:
    """The same for a single object and the sha256 of its bytes.

    Raises:
        StorageError: storage cannot be reached.
    """
    store, key = open_object(uri)
    try:
        found = hashlib.sha256(store.read(key)).hexdigest()
    except NotFound:
        return [f"{uri}: is absent"]
    return [] if found == sha256 else [f"{uri}: {_changed(found, sha256)}"]


def _file_faults(store: Store, entry: ManifestEntry, *, scratch: Path) -> list[str]:
    path = store.local_path(entry.name)
    if path is None:
        path = scratch / "object"
        try:
            store.download(entry.name, path, size=entry.bytes)
        except NotFound:
            return [f"{store.uri}/{entry.name}: is absent"]
    elif not path.is_file():
        return [f"{store.uri}/{entry.name}: is absent"]
    found = describe_file(path, entry.name)
    if found.bytes != entry.bytes:
        return [f"{store.uri}/{entry.name}: has {found.bytes} bytes, {entry.bytes} were published"]
    return [] if found == entry else [f"{store.uri}/{entry.name}: {_changed(found.sha256, entry.sha256)}"]


def _changed(found: str, published: str) -> str:
    return f"its sha256 is {found[:12]}..., {published[:12]}... was published"
