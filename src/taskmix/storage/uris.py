"""URIs of storage: joining, taking apart, and showing without secrets.

A URI is `s3://bucket/prefix`, a folder's path (absolute, relative or `~/...`), or `file:///path`. Nothing here touches
storage.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from taskmix.errors import StorageError

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*)://")
_BUCKET = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{1,254}$")


def scheme_of(uri: str) -> str:
    """Return the scheme in lower case: `s3`, `file`, `https`; empty for a path."""
    match = _SCHEME.match(uri)
    return match.group(1).lower() if match else ""


def join(uri: str, *parts: str) -> str:
    """Return `uri` with `parts` below it, one slash between each.

    Raises:
        StorageError: a part is empty or would leave `uri` (`..`, an absolute path in the middle is taken as relative).
    """
    joined = uri.rstrip("/") or ("/" if uri.startswith("/") else uri)
    for part in parts:
        joined = f"{joined.rstrip('/')}/{check_key(part.strip('/'), uri=uri)}"
    return joined


def check_key(key: str, *, uri: str) -> str:
    """Return `key` if it names something below `uri`.

    Raises:
        StorageError: it is empty, absolute, or holds `.`, `..`, an empty part, a backslash or a control character.
    """
    parts = key.split("/")
    if any(part in ("", ".", "..") for part in parts) or re.search(r"[\\\x00-\x1f\x7f]", key):
        raise StorageError(
            f"{redact(uri)}: {key!r} is not a key of storage: allowed are names parted by single slashes, without '.', "
            "'..', backslashes or control characters; correct the name"
        )
    return key


def split_s3(uri: str) -> tuple[str, str]:
    """Return bucket and prefix of an `s3://` URI; the prefix has no slash at either end and may be empty.

    Raises:
        StorageError: the bucket is absent or cannot be a bucket's name.
    """
    rest = uri.split("://", 1)[1]
    if "@" in rest.split("/", 1)[0]:
        raise StorageError(
            f"{redact(uri)}: credentials do not belong in a URI; write s3://bucket/prefix and set "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile"
        )
    bucket, _, prefix = rest.partition("/")
    if not _BUCKET.match(bucket):
        raise StorageError(f"{uri}: {bucket!r} is not a bucket's name; write s3://bucket/prefix")
    prefix = prefix.strip("/")
    if prefix:
        check_key(prefix, uri=uri)
    return bucket, prefix


def folder_of(uri: str) -> Path:
    """Return the path that a folder URI means (`~` resolved, `file://` taken off)."""
    if scheme_of(uri) == "file":
        return Path(unquote(urlsplit(uri).path))
    return Path(uri).expanduser()


def split_last(uri: str) -> tuple[str, str]:
    """Return the folder that holds the object `uri`, and the object's name in it.

    Raises:
        StorageError: `uri` names a bucket or a root, not an object.
    """
    folder, slash, name = uri.rstrip("/").rpartition("/")
    if scheme_of(uri) == "s3" and folder in ("s3:/", "s3:"):
        raise StorageError(f"{uri}: names a bucket, not an object; write s3://bucket/path/of/object")
    if not name or name in (".", ".."):
        raise StorageError(f"{uri!r}: names no object; write <folder>/<name>")
    if not slash:
        return ".", name
    return folder or "/", name


def redact(uri: str) -> str:
    """Return `uri` for messages and logs: without user name, password and query, where signatures and tokens travel."""
    if not scheme_of(uri):
        return uri
    parts = urlsplit(uri)
    host = parts.netloc.rpartition("@")[2]
    user = "***@" if "@" in parts.netloc else ""
    return urlunsplit((parts.scheme, user + host, parts.path, "***" if parts.query else "", ""))
