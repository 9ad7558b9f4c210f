from __future__ import annotations

import pytest

from taskmix import storage
from taskmix.errors import StorageError


@pytest.mark.parametrize(
    ("uri", "parts", "joined"),
    [
        ("s3://bucket", ("a",), "s3://bucket/a"),
        ("s3://bucket/", ("a", "b/c"), "s3://bucket/a/b/c"),
        ("s3://bucket/prefix/", ("/a/",), "s3://bucket/prefix/a"),
        ("/tmp/x", ("a",), "/tmp/x/a"),
        ("/", ("a",), "/a"),
        ("../shared", ("data",), "../shared/data"),
        ("runs", (), "runs"),
    ],
)
def test_join_puts_one_slash_between(uri: str, parts: tuple[str, ...], joined: str) -> None:
    assert storage.join(uri, *parts) == joined


@pytest.mark.parametrize("part", ["..", "a/../b", "", "a//b", "."])
def test_join_never_leaves_its_root(part: str) -> None:
    with pytest.raises(StorageError, match="is not a key of storage"):
        storage.join("s3://bucket/prefix", part)


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("http://user:sesame@host:80/a.csv", "http://***@host:80/a.csv"),
        ("https://host/a?X-Amz-Signature=sesame", "https://host/a?***"),
        ("https://host/a#sesame", "https://host/a"),
        ("s3://bucket/key", "s3://bucket/key"),
        ("/a folder/with?mark@sign", "/a folder/with?mark@sign"),
    ],
)
def test_secrets_in_uris_are_not_shown(uri: str, shown: str) -> None:
    assert storage.redact(uri) == shown
