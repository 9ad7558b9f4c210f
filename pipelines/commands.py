"""The commands `taskmix run` and `taskmix compile`; the command line finds them by the group `taskmix.commands`."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from taskmix.cli.options import ConfigArgument, SetOption, StorageOption, read_config
from taskmix.errors import MissingExtra


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command("run")(run)
    app.command("compile")(compile_pipeline)


def run(config: ConfigArgument, overrides: SetOption = None, storage: StorageOption = None) -> None:
    """Run the whole pipeline on this machine; what is already on storage is reused.

    Exit code 1: a step failed. 130: stopped by Ctrl-C; run again to go on from what was finished.
    """
    checked = read_config(config, overrides=overrides, storage=storage)
    _need_kfp("run")
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
    _need_kfp("compile")
    from taskmix_pipelines.compile import compile_for_cluster

    compile_for_cluster(checked, output=output, source=str(config))
    typer.echo(f"{output}: {output.stat().st_size:,} bytes; upload it to Kubeflow Pipelines")


def _need_kfp(command: str) -> None:
    """Check for kfp without importing it, which takes a second.

    Raises:
        MissingExtra: it is not installed.
    """
    if find_spec("kfp") is None:
        raise MissingExtra(f"{command} needs kfp, which is not installed; pip install 'taskmix[pipeline]'")
