"""The commands on runs that lie on storage: report, verify, history."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from taskmix.evaluation.history import History

RunArgument = Annotated[
    str,
    typer.Argument(
        metavar="RUN", help="A run's folder, STORAGE/runs/RUN; or its id, RUN, with --storage.", show_default=False
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
            "--output", "-o", metavar="FOLDER", help="Where to write; without it ./report-RUN.", show_default=False
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


def history(
    storage: Annotated[
        str,
        typer.Argument(metavar="STORAGE", help="A configuration's `storage`: a folder or s3://...", show_default=False),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write it as an HTML page too.", show_default=False),
    ] = None,
) -> None:
    """Show all runs on a storage: scores, data and its drift, the gate's verdicts, what was and is served."""
    from rich.console import Console

    from taskmix.evaluation.history import read_history
    from taskmix.evaluation.report.history_page import render_history

    found = read_history(storage)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    console.print(_history_table(found))
    for champion in found.champions:
        typer.echo(f"served as {champion.deployment}: {champion.system} of run {champion.run}")
    for line in found.runs:
        for dataset in line.datasets:
            for told in dataset.drift:
                typer.echo(f"{line.run} {dataset.name}: {told}")
    for told in found.unread:
        typer.echo(f"not shown: {told}")
    if output is not None:
        output.write_text(render_history(found), encoding="utf-8")
        typer.echo(str(output))


def _history_table(found: History) -> Table:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    from taskmix.evaluation.report.figures import moment, score_text

    table = Table(box=box.SIMPLE_HEAD)
    for column in ("run", "report", "configuration", "best system", "by", "score", "data", "gate", "deployed"):
        table.add_column(column, overflow="fold")
    for line in found.runs:
        data = ", ".join(f"{one.name} {one.version[:8]}{'*' if one.drift else ''}" for one in line.datasets)
        row = (line.run, moment(line.created), line.name, line.best, line.by, score_text(line.ranked), data, line.gate)
        table.add_row(*map(escape, (*row, line.standing)))
    return table
