"""Releases that were rolled back, as the champion's record remembers them: no run deploys their bundles by itself.

Otherwise the next scheduled run would find the same best system again and put back what a person has taken away.
Written by `serving.releases`; read there, by the gate and by the history of a storage.
"""

from __future__ import annotations

import getpass
import socket
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from taskmix.errors import Corrupt
from taskmix.modeling.system import SystemRecord

ROLLED_BACK = "rolled back"
"""Name of the gate's rule; the one refusal that `taskmix deploy --again` overrules."""
_KEY = "rollbacks"


class Signature(BaseModel):
    """Who did something, and when."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    at: str
    """UTC, ISO 8601."""
    by: str
    """The user and the machine, as the operating system names them."""


class Rollback(BaseModel):
    """One release that was rolled back."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    run: str
    release: str
    """Its URI."""
    system: SystemRecord
    done: Signature
    overruled: Signature | None = None
    """Who had its bundles deployed again; null while nobody has, and then it stands."""

    @property
    def told(self) -> str:
        """What was rolled back, when and by whom, for people."""
        return f"{self.system.name} of run {self.run}, which was rolled back on {self.done.at} by {self.done.by}"


def sign() -> Signature:
    """Here and now."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user often has no name
        user = "unknown"
    return Signature(at=datetime.now(UTC).isoformat(timespec="seconds"), by=f"{user}@{socket.gethostname()}")


def rollbacks_in(champion: Mapping[str, Any] | None, *, uri: str) -> tuple[Rollback, ...]:
    """All that a champion's record remembers, oldest first; nothing where there is no champion yet.

    Args:
        champion: the record, or null.
        uri: where it lies, for the error.

    Raises:
        Corrupt: what it remembers cannot be read.
    """
    try:
        return tuple(Rollback.model_validate(value) for value in (champion or {}).get(_KEY, ()))
    except (ValidationError, TypeError) as error:
        raise Corrupt(
            f"{uri}: its `{_KEY}` are not a list of rollbacks ({error}); use the version of taskmix that wrote it"
        ) from None


def as_record(rollbacks: Sequence[Rollback]) -> dict[str, Any]:
    """The part of a champion's record that remembers them."""
    return {_KEY: [rollback.model_dump(mode="json") for rollback in rollbacks]} if rollbacks else {}


def without_rollbacks(champion: Mapping[str, Any]) -> dict[str, Any]:
    """A champion's record without what it remembers: one that another record holds as its previous."""
    return {key: value for key, value in champion.items() if key != _KEY}


def find_rollback(system: SystemRecord, rollbacks: Sequence[Rollback]) -> Rollback | None:
    """The last rollback that stands of a system made of the same bundles, byte for byte; null if there is none."""
    standing = (each for each in reversed(rollbacks) if each.overruled is None)
    return next((each for each in standing if system.hashes and each.system.hashes == system.hashes), None)


def overrule(system: SystemRecord, rollbacks: Sequence[Rollback]) -> tuple[Rollback, ...]:
    """The rollbacks, of which none of a system made of these bundles stands any more."""

    def overruled(each: Rollback) -> Rollback:
        stands = each.overruled is None and system.hashes and each.system.hashes == system.hashes
        return each.model_copy(update={"overruled": sign()}) if stands else each

    return tuple(map(overruled, rollbacks))
