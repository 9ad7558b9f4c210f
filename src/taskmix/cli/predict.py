"""`taskmix predict`: the served answers without a server, from lines of text or of JSON to lines of JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from taskmix.cli.options import SystemArgument
from taskmix.errors import DataError

if TYPE_CHECKING:
    from taskmix.modeling.system import System
    from taskmix.serving.predictor import Instance

_LINES_AT_ONCE = 256
"""Lines answered together, as many as the server takes in one request; on a terminal each line at once."""


def predict(
    system: SystemArgument,
    file: Annotated[str, typer.Argument(metavar="FILE", help="Lines to answer; - is standard input.")] = "-",
    tasks: Annotated[
        list[str] | None,
        typer.Option(
            "--task", metavar="TASK", help="A task to answer, as often as needed; without it all.", show_default=False
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
) -> None:
    """Answer lines of text without a server: one line of JSON for each line, in order.

    A line is a text, or a JSON object as a server takes it: {"text": "wake me at nine", "tasks": ["intent"]}.

    Example: echo "wake me at nine" | taskmix predict artifacts/jobs/...
    """
    from taskmix.modeling.system import load_system
    from taskmix.serving.predictor import predict as answer

    name = "standard input" if file == "-" else file
    with _opened(file) as lines:
        loaded = load_system(system, device=device)
        at_once = 1 if file == "-" and sys.stdin.isatty() else _LINES_AT_ONCE
        instances = _instances(_texts(lines, name=name), name=name, system=loaded, tasks=tasks)
        while batch := list(islice(instances, at_once)):
            for prediction in answer(loaded, batch):
                sys.stdout.write(json.dumps(prediction, ensure_ascii=False, allow_nan=False) + "\n")
            sys.stdout.flush()


@contextmanager
def _opened(file: str) -> Iterator[BinaryIO]:
    """The file's bytes, from a folder, s3:// or the web; `-` is standard input."""
    if file == "-":
        yield sys.stdin.buffer
        return
    from taskmix.storage import fetch_file

    with fetch_file(file) as path, Path(path).open("rb") as lines:
        yield lines


def _texts(lines: Iterable[bytes], *, name: str) -> Iterator[str]:
    for number, line in enumerate(lines, start=1):
        try:
            yield line.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise DataError(f"{name} line {number}: is not UTF-8 (byte {error.start}); convert the file") from None


def _instances(lines: Iterable[str], *, name: str, system: System, tasks: list[str] | None) -> Iterator[Instance]:
    """Each line as a valid instance; `tasks` are asked where the line names none.

    Raises:
        RequestError: a line that cannot be answered, with its number.
    """
    from taskmix.serving.predictor import Limits, instance_faults, make_instance, refuse

    for number, line in enumerate(lines, start=1):
        where = f"{name} line {number}"
        value = _parse(line, where=where)
        if tasks and isinstance(value, dict) and value.get("tasks") is None:
            value = {**value, "tasks": tasks}
        refuse(instance_faults(value, where, system.heads, Limits()))
        yield make_instance(value, system.heads)


def _parse(line: str, *, where: str) -> dict[str, object]:
    if not line.lstrip().startswith("{"):
        return {"text": line}
    try:
        value: dict[str, object] = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f"{where}: begins with '{{' but is no JSON: {error.msg} (column {error.colno})") from None
    return value
