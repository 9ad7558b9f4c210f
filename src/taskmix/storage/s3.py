"""A store in an S3 bucket, of any maker, through boto3. The only module that imports it; imported when first needed.

Endpoint, region, keys, retries and checksums come from the standard AWS variables, files and chains
(https://docs.aws.amazon.com/boto3/latest/guide/configuration.html); what is set here are defaults below them.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import boto3
import botocore.session
from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    IncompleteReadError,
    ReadTimeoutError,
    ResponseStreamingError,
)

from taskmix.errors import AlreadyExists, NotFound, StorageError
from taskmix.storage.objects import LEFTOVER_AGE, ObjectInfo, OnBytes, Store, copy_through_here, ignore_bytes
from taskmix.storage.s3_errors import code_of, explain
from taskmix.storage.uris import check_key, split_s3

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PART_BYTES = 64 * 2**20
"""64 MB parts, 4 at once, were fastest of those measured against OpenStack Swift."""
PARTS_AT_ONCE = 4
CONNECTIONS = 32
"""As many as all parts of all files in flight need."""
RETRY_ATTEMPTS = 5
SMALL_BYTES = 8 * 2**20
"""Objects up to this size come through memory in one request, where boto3's transfer takes two and threads."""
_TRANSFER = TransferConfig(
    multipart_threshold=PART_BYTES, multipart_chunksize=PART_BYTES, max_concurrency=PARTS_AT_ONCE
)
_DELETE_AT_ONCE = 1000
"""S3's limit of keys in one DeleteObjects request."""
_TAKEN = frozenset({"412", "PreconditionFailed", "409", "ConditionalRequestConflict"})
_BODILESS = frozenset({"400", "403", "404"})
"""What an error's code is when the answer, to a HEAD, had no body to tell more."""
_BROKEN_BODY = (ConnectionClosedError, IncompleteReadError, ReadTimeoutError, ResponseStreamingError)
_creating = threading.Lock()


def open_s3(uri: str) -> S3Store:
    """Return the store whose root is `s3://bucket/prefix`.

    Raises:
        StorageError: the URI holds no bucket, or the AWS configuration cannot be read.
    """
    bucket, prefix = split_s3(uri)
    return S3Store(bucket, prefix)


class S3Store:
    """Objects of a bucket below a prefix."""

    def __init__(self, bucket: str, prefix: str) -> None:
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        with self._told("connect", ""):
            try:
                self._client = _client_for(_aws_variables())
            except ValueError as error:  # what botocore raises for an endpoint that is no URL
                remedy = "AWS_ENDPOINT_URL (or AWS_ENDPOINT_URL_S3) must be like https://host:port; correct it"
                raise StorageError(f"{self.uri}: cannot connect: the endpoint is not a URL; {remedy}") from error

    @property
    def uri(self) -> str:
        """The root, as users write it."""
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    def read(self, key: str) -> bytes:
        """See `Store.read`."""
        with self._told("read", key):
            for _ in range(RETRY_ATTEMPTS - 1):
                with suppress(*_BROKEN_BODY):  # boto3 tries a request again, but not the reading of its answer
                    return self._client.get_object(Bucket=self._bucket, Key=self._key(key))["Body"].read()
            return self._client.get_object(Bucket=self._bucket, Key=self._key(key))["Body"].read()

    def write(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
        """See `Store.write`."""
        condition: Any = {"IfNoneMatch": "*"} if if_absent else {}
        # Asked first as well: some servers ignore the condition.
        if if_absent and self.exists(key):
            raise self._taken(key)
        with self._told("write", key):
            try:
                self._client.put_object(Bucket=self._bucket, Key=self._key(key), Body=data, **condition)
            except ClientError as error:
                if code_of(error) == "NotImplemented" and if_absent:
                    self._client.put_object(Bucket=self._bucket, Key=self._key(key), Body=data)
                elif code_of(error) in _TAKEN and if_absent:
                    raise self._taken(key) from error
                else:
                    raise

    def exists(self, key: str) -> bool:
        """See `Store.exists`."""
        try:
            self.info(key)
        except NotFound:
            return False
        return True

    def info(self, key: str) -> ObjectInfo:
        """See `Store.info`."""
        with self._told("read", key):
            head = self._client.head_object(Bucket=self._bucket, Key=self._key(key))
        return ObjectInfo(
            key=key, size=head["ContentLength"], etag=head["ETag"].strip('"'), modified=head["LastModified"]
        )

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """See `Store.list`; names that end with a slash, which some tools make for folders, are left out."""
        below = f"{self._key(prefix)}/" if prefix else self._prefix
        with self._told("list", prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=below)
            for page in pages:
                for found in page.get("Contents", []):
                    if found["Key"].endswith("/"):
                        continue
                    yield ObjectInfo(
                        key=found["Key"].removeprefix(self._prefix),
                        size=found["Size"],
                        etag=found["ETag"].strip('"'),
                        modified=found["LastModified"],
                    )

    def delete(self, keys: Iterable[str]) -> None:
        """See `Store.delete`."""
        iterator = iter(keys)
        while batch := [self._key(key) for key in islice(iterator, _DELETE_AT_ONCE)]:
            with self._told("delete", ""):
                answer = self._client.delete_objects(
                    Bucket=self._bucket, Delete={"Objects": [{"Key": key} for key in batch], "Quiet": True}
                )
            for failed in answer.get("Errors", []):
                raise StorageError(
                    f"s3://{self._bucket}/{failed.get('Key')}: cannot delete: {failed.get('Code')}; "
                    "ask for the permission s3:DeleteObject"
                )

    def upload(self, path: Path, key: str, *, on_bytes: OnBytes = ignore_bytes) -> None:
        """See `Store.upload`; large files in parts."""
        with self._told("write", key):
            self._client.upload_file(str(path), self._bucket, self._key(key), Config=_TRANSFER, Callback=on_bytes)

    def download(self, key: str, path: Path, *, size: int | None = None, on_bytes: OnBytes = ignore_bytes) -> None:
        """See `Store.download`; large objects in parts."""
        if size is not None and size <= SMALL_BYTES:
            data = self.read(key)
            with self._told("read", key):
                path.write_bytes(data)
            on_bytes(len(data))
            return
        with self._told("read", key):
            self._client.download_file(self._bucket, self._key(key), str(path), Config=_TRANSFER, Callback=on_bytes)

    def copy_from(self, source: Store, key_there: str, key: str) -> None:
        """See `Store.copy_from`: the service copies, in parts where the object is large."""
        if not isinstance(source, S3Store) or source._client is not self._client:
            copy_through_here(source, key_there, self, key)
            return
        with self._told("copy", key):
            there: Any = {"Bucket": source._bucket, "Key": source._key(key_there)}
            self._client.copy(there, self._bucket, self._key(key), Config=_TRANSFER)

    def clear_leftovers(self, *, older_than: timedelta = LEFTOVER_AGE) -> None:
        """See `Store.clear_leftovers`: uploads in parts that nobody finished, whose parts are paid for."""
        newest = datetime.now(UTC) - older_than
        with self._told("clear", ""):
            try:
                pages = self._client.get_paginator("list_multipart_uploads").paginate(
                    Bucket=self._bucket, Prefix=self._prefix
                )
                for upload in (upload for page in pages for upload in page.get("Uploads", [])):
                    if upload["Initiated"] <= newest:
                        self._client.abort_multipart_upload(
                            Bucket=self._bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                        )
            except ClientError as error:
                # Not every server or role allows this, and none needs it to store objects.
                if code_of(error) not in ("AccessDenied", "NotImplemented", "NoSuchUpload"):
                    raise

    def local_path(self, key: str = "") -> Path | None:
        """See `Store.local_path`: none."""
        return None

    def _key(self, key: str) -> str:
        return self._prefix + check_key(key, uri=self.uri)

    def _taken(self, key: str) -> AlreadyExists:
        remedy = "is there already and is written only once; delete it or take another name"
        return AlreadyExists(f"{self.uri}/{key}: {remedy}")

    @contextmanager
    def _told(self, action: str, key: str) -> Iterator[None]:
        """Turn boto3's errors into ours."""
        where = f"{self.uri}/{key}" if key else self.uri
        try:
            yield
        except (BotoCoreError, ClientError, Boto3Error) as error:
            cause = _root(error)
            if code_of(cause) in _BODILESS:
                cause = self._ask_again(cause)
            raise explain(cause, action=action, where=where, bucket=self._bucket, endpoint=self._endpoint) from error
        except OSError as error:
            raise StorageError(f"{where}: cannot {action}: {error}; check the local disk") from error

    def _ask_again(self, error: Exception) -> Exception:
        """Return what a listing says is wrong, since the answer to a HEAD has no words for it."""
        try:
            self._client.list_objects_v2(Bucket=self._bucket, Prefix=self._prefix, MaxKeys=1)
        except (BotoCoreError, ClientError) as told:
            return told if code_of(told) != "AccessDenied" else error
        return error

    @property
    def _endpoint(self) -> str:
        client: S3Client | None = getattr(self, "_client", None)
        return client.meta.endpoint_url if client else "S3"


def _root(error: Exception) -> Exception:
    """Return the server's error beneath boto3's: its transfers wrap it, without naming it as their cause."""
    inner = error.__cause__ or error.__context__
    return inner if isinstance(error, Boto3Error) and isinstance(inner, ClientError) else error


def _aws_variables() -> tuple[tuple[str, str], ...]:
    return tuple(sorted((name, value) for name, value in os.environ.items() if name.startswith("AWS_")))


def _client_for(variables: tuple[tuple[str, str], ...]) -> S3Client:
    with _creating:
        return _create_client(variables)


@lru_cache(maxsize=4)
def _create_client(variables: tuple[tuple[str, str], ...]) -> S3Client:
    """Return a client for these AWS variables; it may be used by any thread."""
    settings = botocore.session.Session()
    session = boto3.Session(botocore_session=settings)
    defaults: dict[str, Any] = {"connect_timeout": 10, "read_timeout": 60, "max_pool_connections": CONNECTIONS}
    # A Config wins over variables and files: what the user sets there stays out of it.
    if not {"AWS_MAX_ATTEMPTS", "AWS_RETRY_MODE"} & dict(variables).keys():
        defaults["retries"] = {"mode": "standard", "total_max_attempts": RETRY_ATTEMPTS}
    client = session.client("s3", config=Config(**defaults))
    if settings.get_scoped_config().get("s3") or _is_amazon(client.meta.endpoint_url):
        return client
    # Most servers but Amazon's have one name for all buckets.
    config = Config(**defaults, s3={"addressing_style": "path"}, signature_version="s3v4")
    return session.client("s3", config=config)


def _is_amazon(endpoint: str) -> bool:
    host = (urlsplit(endpoint).hostname or "").removesuffix(".cn")
    return host.endswith(".amazonaws.com")
