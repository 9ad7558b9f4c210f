"""The arguments and options that several commands share, and how they make a configuration.

Commands that other packages add (entry points of the group `taskmix.commands`) use these too.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from taskmix.config.schema import Config

ConfigArgument = Annotated[Path, typer.Argument(metavar="CONFIG", help="The YAML file.", show_default=False)]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Write over one key of the file, e.g. --set datasets.massive.uri=/data/massive; the value is YAML. "
        "Give it as often as needed.",
        show_default=False,
    ),
]
StorageOption = Annotated[
    str | None,
    typer.Option(
        "--storage",
        metavar="URI",
        help="Where everything is written, instead of the file's `storage`: s3://bucket/prefix or a folder.",
        show_default=False,
    ),
]
SystemArgument = Annotated[
    str,
    typer.Argument(
        metavar="SYSTEM",
        help="What answers: a system's JSON file, a job or a bundle; a folder or s3://...",
        show_default=False,
    ),
]


def read_config(path: Path, *, overrides: Sequence[str] | None = None, storage: str | None = None) -> Config:
    """The configuration in the file with `--set` and `--storage` written over it.

    Raises:
        ConfigError: the file or an override cannot be right.
    """
    from taskmix.config.load import load_config

    # JSON is YAML: the quotes keep `--storage 20` text.
    of_storage = [] if storage is None else [f"storage={json.dumps(storage)}"]
    return load_config(path, overrides=[*(overrides or ()), *of_storage])
