"""Answers that were paid for, on storage: one object a request, named by the request's hash.

The object is written before the request is sent, with what it may cost, and again when the answer has come. So whatever
kills the process, no answer that arrived is asked again, and no money that may be spent is forgotten.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

from pydantic import ValidationError

from taskmix import storage
from taskmix.config.schema import Section
from taskmix.errors import Corrupt
from taskmix.modeling.api.reply import Reply

PARALLEL_READS = 16
"""Objects read at once; arbitrary."""


class Purchase(Section):
    """The content of one object."""

    format: Literal[1] = 1
    unanswered_usd: float = 0.0
    """The most that attempts can have cost whose answer never came."""
    reply: Reply | None = None


def request_hash(base_url: str, body: Mapping[str, Any]) -> str:
    """64 hex digits that stand for a request: all that is sent, and to whom; the key is no part of it."""
    text = json.dumps([base_url, body], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


class PaidAnswers:
    """The purchases of one job.

    Args:
        uri: the folder on storage that holds them; null holds none.
        keeps: whether new ones are written there; else they are forgotten.

    Raises:
        Corrupt: an object there is none of ours.
    """

    def __init__(self, uri: str | None, *, keeps: bool = True) -> None:
        self.keeps = keeps and uri is not None
        self._uri = uri or ""
        self._purchases: dict[str, Purchase] = {} if uri is None else _read_all(uri)

    @property
    def spent_usd(self) -> float:
        """What they have cost, and what attempts without an answer may have cost."""
        return math.fsum(bought.unanswered_usd + (bought.reply.usd if bought.reply else 0.0) for bought in self.all())

    def all(self) -> tuple[Purchase, ...]:
        """Every purchase."""
        return tuple(self._purchases.values())

    def reply(self, request: str) -> Reply | None:
        """The answer that was paid for, if it was."""
        return self._purchases.get(request, Purchase()).reply

    def unanswered_usd(self, request: str) -> float:
        """The most that earlier attempts of the request can have cost without an answer."""
        return self._purchases.get(request, Purchase()).unanswered_usd

    def note(self, request: str, *, unanswered_usd: float) -> None:
        """Note what the request's attempts can have cost if no answer comes; nothing is kept of one that cost nothing.

        Called before an attempt is sent, and when no more follow.
        """
        if unanswered_usd > 0:
            self._write(request, Purchase(unanswered_usd=unanswered_usd))
        elif self.keeps and request in self._purchases:
            del self._purchases[request]
            storage.open_store(self._uri).delete([_key(request)])

    def keep(self, request: str, reply: Reply, *, unanswered_usd: float) -> None:
        """Keep an answer; `unanswered_usd` is of the attempts before it."""
        self._write(request, Purchase(reply=reply, unanswered_usd=unanswered_usd))

    def _write(self, request: str, purchase: Purchase) -> None:
        if not self.keeps:
            return
        storage.write_json(f"{self._uri}/{_key(request)}", purchase.model_dump(mode="json"), replace=True)
        self._purchases[request] = purchase


def _key(request: str) -> str:
    return f"{request[:2]}/{request}.json"


def _read_all(uri: str) -> dict[str, Purchase]:
    keys = [info.key for info in storage.list_objects(uri)]
    with ThreadPoolExecutor(max_workers=PARALLEL_READS, thread_name_prefix="paid") as pool:
        purchases = list(pool.map(lambda key: _read(f"{uri}/{key}"), keys))
    names = [key.rpartition("/")[2].removesuffix(".json") for key in keys]
    return dict(zip(names, purchases, strict=True))


def _read(uri: str) -> Purchase:
    try:
        return Purchase.model_validate(storage.read_json(uri))
    except ValidationError as error:
        raise Corrupt(
            f"{storage.redact(uri)}: is no paid answer of format 1 ({error.errors()[0]['msg']}); move it away, or use "
            "the version that wrote it"
        ) from None
