"""Fingerprints: a short name for all that decides a result."""

from __future__ import annotations

import hashlib
import json
from typing import Any

DIGITS = 16
"""64 bits: among a million fingerprints two are alike with a chance of 3e-8."""


def fingerprint(value: Any) -> str:
    """Return 16 hex digits that stand for `value`: the sha256 of its canonical JSON (sorted keys, no spaces).

    Args:
        value: what JSON can hold; tuples count as lists.

    Raises:
        ValueError: it holds NaN or an infinity, which have no canonical form.
        TypeError: it holds what JSON cannot.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]
