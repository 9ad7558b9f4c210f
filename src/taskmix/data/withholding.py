"""Keeping users' texts out of what people read: what stands in a text's place, and words of others that may quote one.

A server that is asked about a text may quote it in its error, and errors end in logs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

WITHHELD = "(withheld)"
_QUOTED = 16
"""Characters of a text in a row that count as a quotation, of a shorter one all; arbitrary, about three words."""


def without_quotes(words: str, *, texts: Iterable[str]) -> str:
    """The words, or where they quote one of the texts a note in their place.

    Args:
        words: of somebody who was shown the texts, in a form that may be JSON.
        texts: what may not be quoted.
    """
    said = _plain(words)
    for text in texts:
        for form in {_plain(text), _plain(json.dumps(text)[1:-1])}:
            if _quotes(said, form):
                return f"{WITHHELD}: the message quotes a text"
    return words


def _quotes(said: str, text: str) -> bool:
    if len(text) < _QUOTED:
        return bool(text) and re.search(rf"(?<!\w){re.escape(text)}(?!\w)", said) is not None
    return any(text[at : at + _QUOTED] in said for at in range(len(text) - _QUOTED + 1))


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())
