"""How problems of a configuration are worded: what was found, what is allowed, what was meant; secrets stay unsaid."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from rapidfuzz import fuzz, process

_SECRETS = re.compile(
    r"""\b(?:AKIA|ASIA)[0-9A-Z]{12,}          # an AWS access key
    | \bsk-[A-Za-z0-9_-]{12,}                 # an OpenAI-style key
    | \b(?:gh[pousr]|hf|glpat)[_-][A-Za-z0-9]{16,}   # a GitHub, Hugging Face or GitLab token
    | -----BEGIN[ A-Z]*PRIVATE[ ]KEY
    | ://[^/\s:@]*:[^/\s@]+@                  # a password in a URL
    | [?&]X-Amz-(?:Signature|Security-Token)= # a signed URL
    """,
    re.VERBOSE | re.IGNORECASE,
)
_NEAR = 60
"""Least similarity (0 to 100) of a suggestion; an arbitrary number that lets `lr_rate` through to `learning_rate`."""


def looks_secret(value: object) -> bool:
    """Whether a value has the form of a key, a token or a URL with a password."""
    return isinstance(value, str) and _SECRETS.search(value) is not None


def shown(value: Any) -> str:
    """The value as found, short, in YAML's spelling; a secret is not shown."""
    if looks_secret(str(value)):
        return "a value that looks like a secret"
    match value:
        case None:
            return "nothing"
        case bool():
            return f"the truth value {str(value).lower()}"
        case dict():
            return "a mapping"
        case list() | tuple():
            return "a list"
        case str():
            return repr(value if len(value) <= 80 else value[:77] + "...")
        case _:
            return str(value)


def one_of(names: Iterable[str]) -> str:
    """`a, b, c` in the order given; `none` if there are none."""
    return ", ".join(names) or "none"


def did_you_mean(found: str, names: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the name nearest to what was found, else nothing."""
    best = process.extractOne(found, list(names), scorer=fuzz.ratio, processor=str.lower, score_cutoff=_NEAR)
    return f"; did you mean {best[0]!r}?" if best else ""


def unknown(found: str, names: Iterable[str], *, what: str) -> str:
    """The sentence for a name that is not one of those there are."""
    names = list(names)
    return f"unknown {what} {shown(found)}; allowed: {one_of(names)}{did_you_mean(found, names)}"
