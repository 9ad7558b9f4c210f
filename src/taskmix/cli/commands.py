"""The short commands: validate, export, serve. Each reads its arguments and calls the library."""

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


def export(
    system: SystemArgument,
    backend: Annotated[str, typer.Option(help="What computes: onnx, onnx-int8 or torch-bf16.")] = "onnx",
    max_loss: Annotated[
        float, typer.Option(help="What a task's primary score may lose, 0 to 1; more is refused.", min=0.0, max=1.0)
    ] = 0.005,
    output: Annotated[
        str | None,
        typer.Option(
            "--output", "-o", metavar="URI", help="The record to write; without it below the run.", show_default=False
        ),
    ] = None,
) -> None:
    """Export the encoders of an evaluated system for another backend; prints the URI to serve.

    Example: taskmix export runs/runs/RUN/systems/minilm.merged.json --backend onnx-int8
    """
    from typing import get_args

    from taskmix.errors import EvaluationError
    from taskmix.evaluation.exports import export_system
    from taskmix.modeling.exports import BackendName

    known = {name: name for name in get_args(BackendName)}
    if backend not in known:
        raise EvaluationError(f"--backend {backend}: is none; allowed are {', '.join(known)}")
    typer.echo(export_system(system, backend=known[backend], max_loss=max_loss, output=output))


def serve(
    system: SystemArgument,
    name: Annotated[str, typer.Option(help="The model's name in URLs.")] = "taskmix",
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8080,
    grpc_port: Annotated[
        int | None, typer.Option(help="Port to listen on for gRPC; without it none.", show_default=False)
    ] = None,
) -> None:
    """Serve a system over HTTP with KServe's model server, until interrupted.

    Ask it: curl localhost:8080/v1/models/taskmix:predict -d '{"instances": [{"text": "wake me at nine"}]}'
    """
    from taskmix.serving.server import serve as serve_system

    serve_system(system, name=name, host=host, port=port, grpc_port=grpc_port)
