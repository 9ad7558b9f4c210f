"""The commands that talk to Kubeflow Pipelines on a cluster: submit, runs, logs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from taskmix.cli.options import ConfigArgument, SetOption, StorageOption, read_config
from taskmix_pipelines.options import (
    CaOption,
    HostOption,
    NamespaceOption,
    ServiceAccountOption,
    TokenOption,
    connect,
    print_table,
)

if TYPE_CHECKING:
    from kfp import Client

    from taskmix_pipelines.submit import Submitted

RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="A run's id, as `taskmix runs` lists it.")]


def submit(
    config: ConfigArgument,
    overrides: SetOption = None,
    storage: StorageOption = None,
    host: HostOption = None,
    namespace: NamespaceOption = None,
    token_variable: TokenOption = "KF_TOKEN",
    ca_file: CaOption = None,
    service_account: ServiceAccountOption = None,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the steps until the run ends.")] = False,
) -> None:
    """Run the pipeline on a Kubeflow cluster: compile, upload where it is new, start a run, and print its link.

    Exit code with --wait: 0 the run succeeded, 1 it failed or was canceled. Ctrl-C ends the following, not the run.
    """
    checked = read_config(config, overrides=overrides, storage=storage)
    connection, client = connect(
        "submit", host=host, namespace=namespace, token_variable=token_variable, ca_file=ca_file
    )
    from taskmix_pipelines.submit import submit as start

    done = start(checked, client=client, connection=connection, source=str(config), service_account=service_account)
    typer.echo(f"pipeline version {done.version.name}: {'uploaded' if done.version.uploaded else 'is there already'}")
    typer.echo(f"run {done.run}: {done.link}")
    if wait:
        _wait(done, client=client)


def runs(
    experiment: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME]", help="A configuration's name; without it the runs of all.", show_default=False
        ),
    ] = None,
    host: HostOption = None,
    namespace: NamespaceOption = None,
    token_variable: TokenOption = "KF_TOKEN",
    ca_file: CaOption = None,
    count: Annotated[int, typer.Option(help="How many, the latest first.", min=1, max=200)] = 20,
) -> None:
    """List the latest runs on a Kubeflow cluster."""
    connection, client = connect("runs", host=host, namespace=namespace, token_variable=token_variable, ca_file=ca_file)
    from taskmix_pipelines.runs import latest_runs, runs_table

    found = latest_runs(client, connection=connection, experiment=experiment, count=count)
    if not found:
        typer.echo("no runs")
        return
    print_table(runs_table(found))


def logs(
    run: RunArgument,
    step: Annotated[
        str, typer.Argument(metavar="STEP", help='A step as its run shows it, e.g. "finetune minilm [intent]".')
    ],
    host: HostOption = None,
    namespace: NamespaceOption = None,
    token_variable: TokenOption = "KF_TOKEN",
    ca_file: CaOption = None,
) -> None:
    """Print what a step of a run on a Kubeflow cluster has printed, every try of it."""
    connection, client = connect("logs", host=host, namespace=namespace, token_variable=token_variable, ca_file=ca_file)
    from taskmix_pipelines.runs import find_step, read_log, run_steps

    for text in read_log(run, find_step(run_steps(client, run), step), connection=connection):
        sys.stdout.write(text)


def _wait(done: Submitted, *, client: Client) -> None:
    """Follow a run to its end.

    Raises:
        RunFailed: it did not succeed.
    """
    from taskmix.errors import RunFailed
    from taskmix_pipelines.follow import follow

    try:
        outcome = follow(done.run, client=client, steps=done.version.steps, tell=typer.echo)
    except KeyboardInterrupt:
        typer.echo(f"taskmix: no longer followed; run {done.run} goes on: {done.link}", err=True)
        raise typer.Exit(130) from None
    if outcome.state == "SUCCEEDED":
        typer.echo("the run succeeded")
        return
    lines = [f"run {done.run} {outcome.state.lower()}{f': {outcome.error}' if outcome.error else ''}"]
    for progress in outcome.failed_steps:
        lines.append(f"step '{progress.step.title}' failed{f': {progress.error}' if progress.error else ''}; its log:")
        lines.append(f'  taskmix logs {done.run} "{progress.step.title}"')
    raise RunFailed("\n".join([*lines, done.link]))
