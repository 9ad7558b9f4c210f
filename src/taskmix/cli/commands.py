"""The short commands: validate, serve. Each reads its arguments and calls the library."""

from __future__ import annotations

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
