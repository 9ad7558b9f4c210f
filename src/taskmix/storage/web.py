"""Files from web servers: downloaded whole or not at all, tried again when the server or the line fails."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import httpx

from taskmix.errors import NotFound, StorageError
from taskmix.storage.fingerprints import fingerprint
from taskmix.storage.progress import transfer_progress
from taskmix.storage.uris import redact

ATTEMPTS = 5
FIRST_WAIT_S = 0.5
"""Doubles with every attempt, with chance added: about 8 s in all; an arbitrary number."""
_TIMEOUT = httpx.Timeout(30.0, connect=10.0)
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Status codes that another attempt may not meet (RFC 9110, RFC 6585, RFC 8470)."""
_CHUNK_BYTES = 2**20

Result = TypeVar("Result")

log = logging.getLogger(__name__)


class _Passing(Exception):
    """A failure that another attempt may not meet."""


def download(url: str, path: Path) -> None:
    """Write what `url` gives to `path`; its size is checked against the server's word.

    Raises:
        NotFound: the server says 404 or 410.
        StorageError: the server refuses, cannot be reached, or keeps sending too little.
    """
    try:
        _persist(url, lambda client, clean: _download_once(client, clean, path))
    except OSError as error:
        raise StorageError(f"{path}: cannot write: {error.strerror}; free some space or set TMPDIR") from error


def version(url: str) -> str | None:
    """Return a hash of ETag, Last-Modified and size; None where the server tells neither of the first two.

    Raises:
        NotFound: the server says 404 or 410.
        StorageError: the server refuses or cannot be reached.
    """

    def ask(client: httpx.Client, clean: httpx.URL) -> str | None:
        response = client.head(clean)
        if response.status_code in (405, 501):  # a server that knows no HEAD
            return None
        _check(response, url)
        seen = [response.headers.get(name) for name in ("etag", "last-modified", "content-length")]
        return fingerprint(seen) if seen[0] or seen[1] else None

    return _persist(url, ask)


def _download_once(client: httpx.Client, clean: httpx.URL, path: Path) -> None:
    with client.stream("GET", clean) as response:
        _check(response, str(clean))
        size = int(response.headers.get("content-length", -1))
        with transfer_progress(f"download {redact(str(clean))}", total_bytes=size) as on_bytes, path.open("wb") as file:
            for chunk in response.iter_bytes(_CHUNK_BYTES):
                file.write(chunk)
                on_bytes(len(chunk))
            if size not in (-1, response.num_bytes_downloaded):
                raise _Passing(f"{response.num_bytes_downloaded} of {size} bytes arrived")


def _persist(url: str, ask: Callable[[httpx.Client, httpx.URL], Result]) -> Result:
    """Return what `ask` does, called up to `ATTEMPTS` times, with a URL free of user and password."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise StorageError(f"{redact(url)}: is not a URL ({error}); correct it") from error
    # httpx logs every URL it asks: the password goes with the client, not with the URL.
    auth = (parsed.username, parsed.password) if parsed.userinfo else None
    clean = parsed.copy_with(username=None, password=None, fragment=None)
    # identity: one answer, and one ETag, for all clients.
    headers = {"accept-encoding": "identity"}
    with httpx.Client(auth=auth, follow_redirects=True, timeout=_TIMEOUT, headers=headers) as client:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return ask(client, clean)
            except (httpx.TransportError, httpx.TooManyRedirects, _Passing) as error:
                reason = str(error) or type(error).__name__
            if attempt < ATTEMPTS:
                wait_s = FIRST_WAIT_S * 2 ** (attempt - 1) * random.uniform(0.5, 1.0)
                log.info("retry url=%s attempt=%d reason=%s wait_s=%.1f", redact(url), attempt, reason, wait_s)
                time.sleep(wait_s)
    raise StorageError(
        f"{redact(url)}: no answer to use in {ATTEMPTS} attempts, the last: {reason}; check the address, the network "
        "and the server, or download the file and give its path"
    )


def _check(response: httpx.Response, url: str) -> None:
    code = response.status_code
    where = f"{redact(url)}: the server says {code} {response.reason_phrase}".rstrip()
    if code in (404, 410):
        raise NotFound(f"{where}; correct the address")
    if code in _PASSING:
        raise _Passing(f"status {code} {response.reason_phrase}")
    if code in (401, 403):
        raise StorageError(f"{where}; give credentials it accepts, or download the file and give its path")
    if not response.is_success:
        raise StorageError(f"{where}; check the address, or download the file and give its path")


class _NoSecrets(logging.Filter):
    """Takes queries out of the URLs that httpx logs: presigned ones carry their signature there."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite the record's URLs; every record passes."""
        if isinstance(record.args, tuple):
            record.args = tuple(redact(str(arg)) if isinstance(arg, httpx.URL) else arg for arg in record.args)
        return True


logging.getLogger("httpx").addFilter(_NoSecrets())
