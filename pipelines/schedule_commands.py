"""The commands `taskmix schedule apply`, `list` and `delete`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

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

schedule = typer.Typer(
    help="Let a Kubeflow cluster run a configuration again and again, as its `schedule` says.", no_args_is_help=True
)


@schedule.command()
def apply(
    config: ConfigArgument,
    overrides: SetOption = None,
    storage: StorageOption = None,
    host: HostOption = None,
    namespace: NamespaceOption = None,
    token_variable: TokenOption = "KF_TOKEN",
    ca_file: CaOption = None,
    service_account: ServiceAccountOption = None,
) -> None:
    """Make or replace the configuration's schedule; one that is there as it should be stays."""
    checked = read_config(config, overrides=overrides, storage=storage)
    from taskmix_pipelines.times import told

    connection, client = connect(
        "schedule", host=host, namespace=namespace, token_variable=token_variable, ca_file=ca_file
    )
    from taskmix_pipelines import schedule as schedules

    when = schedules.wanted(checked, source=str(config))
    done = schedules.apply(
        checked, client=client, connection=connection, source=str(config), service_account=service_account
    )
    instead = f", in place of {', '.join(done.replaced)}" if done.replaced else ""
    typer.echo(f"schedule {checked.name}: {done.what} ({done.id}{instead}), runs pipeline version {done.version.name}")
    for line in told(when, now=datetime.now(UTC)):
        typer.echo(f"  {line}")


@schedule.command("list")
def list_schedules(
    config: Annotated[
        Path | None,
        typer.Argument(metavar="[CONFIG]", help="Only this one's; without it all.", show_default=False),
    ] = None,
    host: HostOption = None,
    namespace: NamespaceOption = None,
    token_variable: TokenOption = "KF_TOKEN",
    ca_file: CaOption = None,
) -> None:
    """List the schedules on the cluster."""
    name = read_config(config).name if config is not None else None
    connection, client = connect(
        "schedule", host=host, namespace=namespace, token_variable=token_variable, ca_file=ca_file
    )
    from taskmix_pipelines.schedule import schedules
    from taskmix_pipelines.times import schedules_table

    found = schedules(client, connection=connection, name=name)
    if not found:
        typer.echo("no schedules")
        return
    print_table(schedules_table(found))


@schedule.command()
def delete(
    config: ConfigArgument,
    host: HostOption = None,
    namespace: NamespaceOption = None,
    token_variable: TokenOption = "KF_TOKEN",
    ca_file: CaOption = None,
) -> None:
    """Delete the configuration's schedule; runs that it has begun go on."""
    name = read_config(config).name
    connection, client = connect(
        "schedule", host=host, namespace=namespace, token_variable=token_variable, ca_file=ca_file
    )
    from taskmix_pipelines.schedule import delete as delete_schedules

    for identity in delete_schedules(client, connection=connection, name=name):
        typer.echo(f"schedule {name}: deleted ({identity})")
