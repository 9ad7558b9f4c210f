"""Single objects by URI, and listings; the first floor above the stores."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from taskmix.errors import AlreadyExists, Corrupt, StorageError
from taskmix.storage.folder import FolderStore
from taskmix.storage.manifest import MANIFEST
from taskmix.storage.objects import ObjectInfo, Store
from taskmix.storage.uris import folder_of, redact, scheme_of, split_last


def open_store(uri: str) -> Store:
    """Return the store whose root is `uri`: `s3://bucket/prefix`, or a folder. Nothing is reached or made yet.

    Raises:
        StorageError: the URI is of another kind.
    """
    scheme = scheme_of(uri)
    if scheme == "s3":
        from taskmix.storage.s3 import open_s3  # boto3 takes a third of a second to import: not for folders' users

        return open_s3(uri)
    if scheme in ("", "file"):
        if not uri:
            raise StorageError("storage: the URI is empty; write s3://bucket/prefix or a folder's path")
        return FolderStore(folder_of(uri))
    raise StorageError(
        f"{redact(uri)}: storage is s3://bucket/prefix or a folder's path, not {scheme}://; correct the URI"
    )


def open_object(uri: str) -> tuple[Store, str]:
    """Return the store that holds the object `uri`, and its key there."""
    folder, name = split_last(uri)
    return open_store(folder), name


def read_bytes(uri: str) -> bytes:
    """Return the bytes of one object.

    Raises:
        NotFound: it is not there.
    """
    store, key = open_object(uri)
    return store.read(key)


def write_bytes(uri: str, data: bytes, *, replace: bool = False) -> None:
    """Write one object, whole or not at all.

    Args:
        uri: where to.
        data: what.
        replace: whether other content that lies there may be replaced; the same content is never an error.

    Raises:
        AlreadyExists: other content lies there.
    """
    store, key = open_object(uri)
    if replace:
        store.write(key, data)
        return
    try:
        store.write(key, data, if_absent=True)
    except AlreadyExists:
        if store.read(key) != data:
            raise


def exists(uri: str) -> bool:
    """Say whether there is an object of exactly this name; for folders of objects see `is_complete`."""
    store, key = open_object(uri)
    return store.exists(key)


def list_objects(uri: str) -> Iterator[ObjectInfo]:
    """Yield all objects below a folder, sorted, their keys seen from it; none if nothing is there."""
    return open_store(uri).list()


def delete_prefix(uri: str) -> None:
    """Delete all objects below a folder; manifests first, so that what a kill leaves is never taken for complete."""
    store = open_store(uri)
    keys = [info.key for info in store.list()]
    manifests = [key for key in keys if key.rpartition("/")[2] == MANIFEST]
    store.delete(manifests)
    store.delete(key for key in keys if key not in set(manifests))


def read_json(uri: str) -> Any:
    """Return the value of a JSON object.

    Raises:
        NotFound: it is not there.
        Corrupt: it is not JSON.
    """
    data = read_bytes(uri)
    try:
        return json.loads(data)
    except ValueError as error:
        raise Corrupt(f"{redact(uri)}: is not JSON ({error}); delete it and write it again") from error


def write_json(uri: str, value: Any, *, replace: bool = False) -> None:
    """Write `value` as JSON: keys sorted, indented by two, the same value always the same bytes.

    Raises:
        AlreadyExists: other content lies there and `replace` is off.
        ValueError: it holds NaN or an infinity, which are not JSON.
    """
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    write_bytes(uri, (text + "\n").encode(), replace=replace)
