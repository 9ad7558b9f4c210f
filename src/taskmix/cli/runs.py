"""The commands on runs that lie on storage: report, verify."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

RunArgument = Annotated[
    str,
    typer.Argument(
        metavar="RUN", help="A run's folder, <storage>/runs/<id>; or its id, with --storage.", show_default=False
    ),
]
RunStorageOption = Annotated[
    str | None,
    typer.Option("--storage", metavar="URI", help="The storage to look the run's id up in.", show_default=False),
]


def run_uri(run: str, *, storage: str | None) -> str:
    """URI of the run's folder, from what the user gave."""
    from taskmix.storage import join

    uri = run.rstrip("/") if storage is None else join(storage, "runs", run)
    return uri.removesuffix("/report")


def report(
    run: RunArgument,
    storage: RunStorageOption = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FOLDER", help="Where to write; without it ./report-<id>.", show_default=False
        ),
    ] = None,
) -> None:
    """Make a run's report again, HTML and Markdown, from storage alone; what the run published stays as it is."""
    from taskmix.evaluation.report import regenerate
    from taskmix.storage import join

    uri = run_uri(run, storage=storage)
    folder = output or Path(f"report-{uri.rpartition('/')[2]}")
    for path in regenerate(join(uri, "report"), folder=folder):
        typer.echo(path)


def verify(run: RunArgument, storage: RunStorageOption = None) -> None:
    """Hash again all that a run made and was made of, and tell what is not as it was.

    Exit code 1: something was changed, is absent or was added. Works on a storage that was copied or moved, too.
    """
    from taskmix.evaluation.lineage import verify_run

    audit = verify_run(run_uri(run, storage=storage))
    for fault in audit.faults:
        typer.echo(fault)
    count = len(audit.faults)
    verdict = "all as they were" if not count else f"{count} fault{'' if count == 1 else 's'}"
    typer.echo(f"{audit.artifacts} artifacts of {audit.lineage} (sha256 {audit.sha256}): {verdict}")
    if audit.faults:
        raise typer.Exit(1)
