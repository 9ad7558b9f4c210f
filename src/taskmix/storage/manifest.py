"""The manifest: what makes a folder of objects complete, and tells what its bytes must be."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from taskmix.errors import Corrupt, StorageError
from taskmix.storage.uris import check_key

MANIFEST = "MANIFEST.json"
FORMAT = 1


@dataclass(frozen=True)
class ManifestEntry:
    """One object of a published folder."""

    name: str
    """Below the folder, parted by `/`."""
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a published folder holds."""

    files: tuple[ManifestEntry, ...]
    """Sorted by name."""
    about: Mapping[str, str]
    """What the publisher said of it; no part of the content."""
    sha256: str
    """Of the manifest's own bytes: one value that stands for the folder."""

    @property
    def bytes(self) -> int:
        """Sum of the files' sizes."""
        return sum(entry.bytes for entry in self.files)


def render_manifest(files: tuple[ManifestEntry, ...], about: Mapping[str, str]) -> bytes:
    """Return the bytes of `MANIFEST.json`; the same content gives the same bytes."""
    entries = [{"name": entry.name, "bytes": entry.bytes, "sha256": entry.sha256} for entry in files]
    value = {"format": FORMAT, "about": dict(about), "files": entries}
    return (json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n").encode()


def parse_manifest(data: bytes, *, uri: str) -> Manifest:
    """Return the manifest that `data` holds.

    Raises:
        Corrupt: `data` is no manifest, or names objects outside its folder.
        StorageError: it was written in a later format.
    """
    try:
        value = json.loads(data)
        if value["format"] != FORMAT:
            raise StorageError(
                f"{uri}: manifest format {value['format']!r}, this version reads {FORMAT}; upgrade taskmix"
            )
        files = tuple(_entry(entry, uri=uri) for entry in value["files"])
        about = {str(key): str(text) for key, text in value["about"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        remedy = "delete the folder and publish it again"
        raise Corrupt(f"{uri}: {MANIFEST} cannot be read ({type(error).__name__}: {error}); {remedy}") from error
    return Manifest(files=files, about=about, sha256=hashlib.sha256(data).hexdigest())


def _entry(value: Any, *, uri: str) -> ManifestEntry:
    try:
        name = check_key(value["name"], uri=uri)
    except StorageError as error:
        raise Corrupt(f"{uri}: {MANIFEST} names an object outside its folder; do not trust it: {error}") from error
    return ManifestEntry(name=name, bytes=int(value["bytes"]), sha256=str(value["sha256"]))


def describe_file(path: Path, name: str) -> ManifestEntry:
    """Return size and sha256 of a local file.

    Raises:
        StorageError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return ManifestEntry(name=name, bytes=file.tell(), sha256=digest)
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror}; check that it is there and readable") from error


def first_difference(ours: tuple[ManifestEntry, ...], theirs: tuple[ManifestEntry, ...]) -> str | None:
    """Return a sentence on the first file in which two contents differ; None if they are the same."""
    here = {entry.name: entry for entry in ours}
    there = {entry.name: entry for entry in theirs}
    for name in sorted(here.keys() | there.keys()):
        if name not in here:
            return f"{name} is only in what lies there"
        if name not in there:
            return f"{name} is only in what was to be published"
        if here[name] != there[name]:
            return f"{name} has {_describe(there[name])} there, {_describe(here[name])} here"
    return None


def _describe(entry: ManifestEntry) -> str:
    return f"{entry.bytes} bytes, sha256 {entry.sha256[:12]}..."
