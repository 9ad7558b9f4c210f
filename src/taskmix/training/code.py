"""The code that decides what a job comes to, as one hash: part of the job's fingerprint.

Only modules that the kind's training imports count, so that work on another kind, on readers (the data's own hash
stands for what they made) or on serving retrains nothing.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DECIDING_PACKAGES = ("taskmix.data.", "taskmix.modeling.", "taskmix.training.")
"""Configuration enters the fingerprint by its values; storage, errors and progress decide no result."""
NOT_DECIDING = frozenset(
    f"taskmix.training.{name}" for name in ("checkpoints", "code", "progress", "processes", "launch")
)


@cache
def code_version(name: str) -> str:
    """16 hex digits over the source of every module that `taskmix.training.<name>` is made of.

    A module's data, the YAML file of its name beside it, counts as its source.
    """
    digest = hashlib.sha256()
    for module in sorted(deciding_modules(f"taskmix.training.{name}")):
        digest.update(module.encode() + b"\0" + _path(module).read_bytes() + b"\0")
        if _path(module).with_suffix(".yaml").is_file():
            digest.update(_path(module).with_suffix(".yaml").read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def deciding_modules(start: str) -> set[str]:
    """`start` and all modules of the deciding packages that it imports at the top of a module, directly or not.

    Imports inside functions choose between kinds, so they are another kind's code.
    """
    found: set[str] = set()
    pending = [start]
    while pending:
        module = pending.pop()
        if module in found or not module.startswith(DECIDING_PACKAGES) or module in NOT_DECIDING:
            continue
        if _path(module).is_file():
            found.add(module)
            pending += _imports(_path(module))
    return found


def _path(module: str) -> Path:
    return ROOT.joinpath(*module.split(".")).with_suffix(".py")


def _imports(path: Path) -> Iterator[str]:
    for node in ast.parse(path.read_bytes()).body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
