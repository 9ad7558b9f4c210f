"""`taskmix predict`: the served answers without a server, from lines of text or of JSON to lines of JSON."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from taskmix.cli.options import SystemArgument


class LineForm(StrEnum):
    """How a line is read."""

    AUTO = "auto"
    JSONL = "jsonl"
    TEXT = "text"


def predict(
    system: SystemArgument,
    file: Annotated[str, typer.Argument(metavar="FILE", help="Lines to answer; - is standard input.")] = "-",
    tasks: Annotated[
        list[str] | None,
        typer.Option(
            "--task", metavar="TASK", help="A task to answer, as often as needed; without it all.", show_default=False
        ),
    ] = None,
    form: Annotated[LineForm, typer.Option(help="auto: a line that begins with { is JSON.")] = LineForm.AUTO,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
) -> None:
    """Answer lines of text without a server: one line of JSON for each line, in order.

    A line is a text, or a JSON object as a server takes it: {"text": "wake me at nine", "tasks": ["intent"]}; an "id"
    comes back with the answer. A line that cannot be answered gets {"error": ...}, and the command ends with 2.

    Example: echo "wake me at nine" | taskmix predict artifacts/jobs/...
    """
    from taskmix.modeling.system import load_system
    from taskmix.serving.predict_file import LINES_AT_ONCE, predict_file

    with _opened(file) as lines:
        predict_file(
            load_system(system, device=device),
            source=lines,
            sink=sys.stdout,
            name="standard input" if file == "-" else file,
            form=form.value,
            tasks=tasks,
            at_once=1 if file == "-" and sys.stdin.isatty() else LINES_AT_ONCE,
            tell=partial(print, file=sys.stderr),
        )


@contextmanager
def _opened(file: str) -> Iterator[BinaryIO]:
    """The file's bytes, from a folder, s3:// or the web; `-` is standard input."""
    if file == "-":
        yield sys.stdin.buffer
        return
    from taskmix.storage import fetch_file

    with fetch_file(file) as path, Path(path).open("rb") as lines:
        yield lines
