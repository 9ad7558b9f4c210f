"""The short commands: validate, report, serve, predict. Each reads its arguments and calls the library."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from taskmix.cli.options import ConfigArgument, SetOption, StorageOption, SystemArgument, read_config


def validate(config: ConfigArgument, overrides: SetOption = None, storage: StorageOption = None) -> None:
    """Check a configuration and tell everything that is wrong with it at once."""
    from taskmix.config.plan import make_plan

    checked = read_config(config, overrides=overrides, storage=storage)
    plan = make_plan(checked)
    typer.echo(
        f"{config} is valid: {_count(len(checked.datasets), 'dataset')}, {_count(len(checked.tasks), 'task')}, "
        f"{_count(len(plan.systems), 'system')} of {_count(len(plan.jobs), 'job')}"
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def report(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN", help="A run's folder, <storage>/runs/<id>; or its id, with --storage.", show_default=False
        ),
    ],
    storage: Annotated[
        str | None,
        typer.Option(metavar="URI", help="The storage to look the run's id up in.", show_default=False),
    ] = None,
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

    uri = run.rstrip("/") if storage is None else join(storage, "runs", run)
    uri = uri.removesuffix("/report")
    folder = output or Path(f"report-{uri.rpartition('/')[2]}")
    for path in regenerate(join(uri, "report"), folder=folder):
        typer.echo(path)


def serve(
    system: SystemArgument,
    name: Annotated[str, typer.Option(help="The model's name in URLs.")] = "taskmix",
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8080,
) -> None:
    """Serve a system over HTTP with KServe's model server, until interrupted.

    Ask it: curl localhost:8080/v1/models/taskmix:predict -d '{"instances": [{"text": "wake me at nine"}]}'
    """
    from taskmix.serving.server import serve as serve_system

    serve_system(system, name=name, host=host, port=port)
