"""JSON lines: one object a line, UTF-8. Used by the readers of `jsonl` and `massive`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from taskmix.data.records import BadRow
from taskmix.data.schema import Split

BOM = b"\xef\xbb\xbf"


def read_lines(
    lines: Iterable[bytes], *, name: str, split: Split | None
) -> Iterator[tuple[str, dict[str, Any]] | BadRow]:
    """Yield (where, object) of each line, or what is wrong with it; blank lines are passed over.

    Args:
        lines: with or without their line ends.
        name: the file's, for errors.
        split: that the lines belong to; null if each line says.
    """
    for number, line in enumerate(lines, start=1):
        where = f"{name} line {number}"
        if number == 1:
            line = line.removeprefix(BOM)
        if not line.strip():
            continue
        try:
            value = json.loads(line.decode("utf-8"))
        except UnicodeDecodeError as error:
            yield BadRow(split, where, f"is not UTF-8 at byte {error.start + 1}; save the file as UTF-8")
        except (json.JSONDecodeError, RecursionError) as error:
            yield BadRow(split, where, f'is not JSON ({error}); each line holds one object, e.g. {{"text": "..."}}')
        else:
            if isinstance(value, dict):
                yield where, value
            else:
                yield BadRow(split, where, f"is a JSON {type(value).__name__}; each line holds one object")
