"""The commands that need the graph: run, compile, reproduce; those that talk to a cluster have modules of their own.

The command line finds them by the group `taskmix.commands`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from taskmix.cli.bill import print_bill
from taskmix.cli.options import ConfigArgument, SetOption, StorageOption, read_config
from taskmix.cli.runs import RunArgument, RunStorageOption, run_uri
from taskmix.config.plan import make_plan
from taskmix_pipelines import cluster_commands, schedule_commands
from taskmix_pipelines.options import need_kfp


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command("run")(run)
    app.command("compile")(compile_pipeline)
    app.command("reproduce")(reproduce)
    app.command()(cluster_commands.submit)
    app.command()(cluster_commands.runs)
    app.command()(cluster_commands.logs)
    app.add_typer(schedule_commands.schedule, name="schedule")


def run(
    config: ConfigArgument,
    overrides: SetOption = None,
    storage: StorageOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Ask, train and write nothing: print the bill of the API models.")
    ] = False,
) -> None:
    """Run the whole pipeline on this machine; what is already on storage is reused.

    Exit code 1: a step failed. 130: stopped by Ctrl-C; run again to go on from what was finished.
    """
    checked = read_config(config, overrides=overrides, storage=storage)
    if dry_run:
        print_bill(make_plan(checked))
        return
    need_kfp("run")
    from taskmix_pipelines.ending import tell_ending
    from taskmix_pipelines.local import RunStopped, run_locally

    try:
        finished = run_locally(checked, tell=typer.echo)
    except RunStopped as stopped:
        typer.echo(f"taskmix: {stopped}", err=True)
        raise typer.Exit(128 + stopped.signal) from None
    tell_ending(checked, finished, tell=typer.echo)


def compile_pipeline(
    config: ConfigArgument,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Where the YAML is written.")] = Path(
        "pipeline.yaml"
    ),
    overrides: SetOption = None,
    storage: StorageOption = None,
) -> None:
    """Compile the same pipeline for a Kubeflow cluster, as YAML for KFP's user interface or client."""
    checked = read_config(config, overrides=overrides, storage=storage)
    need_kfp("compile")
    from taskmix_pipelines.compile import compile_for_cluster

    compile_for_cluster(checked, output=output, source=str(config))
    typer.echo(f"{output}: {output.stat().st_size:,} bytes; upload it to Kubeflow Pipelines")


def reproduce(
    run: RunArgument,
    storage: RunStorageOption = None,
    into: Annotated[
        str | None,
        typer.Option(metavar="URI", help="Where all is made anew; without it ./reproduced-RUN.", show_default=False),
    ] = None,
) -> None:
    """Run the configuration of a run again, from nothing, and tell what came out bit for bit the same and what not.

    Folders that the configuration names are looked up from the current directory. Exit code 1: other data, a score
    outside the interval of the first, another winner or another verdict.
    """
    uri = run_uri(run, storage=storage)
    need_kfp("reproduce")
    from rich.console import Console

    from taskmix_pipelines.local import RunStopped
    from taskmix_pipelines.reproduce import findings_table
    from taskmix_pipelines.reproduce import reproduce as run_again

    try:
        findings = run_again(uri, into=into or f"reproduced-{uri.rpartition('/')[2]}", tell=typer.echo)
    except RunStopped as stopped:
        typer.echo(f"taskmix: {stopped}", err=True)
        raise typer.Exit(128 + stopped.signal) from None
    Console(highlight=False, width=None if sys.stdout.isatty() else 160).print(findings_table(findings))
    if any(finding.outcome == "differs" for finding in findings):
        raise typer.Exit(1)
