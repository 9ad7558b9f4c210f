"""The options that the commands for a cluster share, and how they make a connection."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated

import typer

from taskmix.errors import MissingExtra

if TYPE_CHECKING:
    from kfp import Client

    from taskmix_pipelines.connection import Connection

HostOption = Annotated[
    str | None,
    typer.Option(
        "--host",
        metavar="URL",
        help="Kubeflow Pipelines, e.g. https://kubeflow.example/pipeline; without it KF_PIPELINES_ENDPOINT, or in a "
        "pod the cluster's own.",
        show_default=False,
    ),
]
NamespaceOption = Annotated[
    str | None,
    typer.Option(
        "--namespace",
        "-n",
        metavar="NAME",
        help="Your profile's namespace, where Kubeflow serves several users; without it KF_NAMESPACE, or the pod's.",
        show_default=False,
    ),
]
TokenOption = Annotated[
    str,
    typer.Option(
        "--token-env",
        metavar="VARIABLE",
        help="Environment variable that holds a token. Without a token: a pod's service account, then the cookie in "
        "KF_COOKIE, then nothing.",
    ),
]
CaOption = Annotated[
    str | None,
    typer.Option("--ca-file", metavar="FILE", help="Certificate authorities to trust.", show_default=False),
]
ServiceAccountOption = Annotated[
    str | None,
    typer.Option(
        "--service-account",
        metavar="NAME",
        help="Kubernetes service account of the steps; without it Kubeflow's own.",
        show_default=False,
    ),
]


def connect(
    command: str, *, host: str | None, namespace: str | None, token_variable: str, ca_file: str | None
) -> tuple[Connection, Client]:
    """The server and kfp's client for it.

    Raises:
        MissingExtra: kfp is not installed.
        PipelineServiceError: the server is out of reach, does not let us in, or is too old.
    """
    need_kfp(command)
    from taskmix_pipelines.connection import find_connection, fit, open_client, preflight

    connection = find_connection(host=host, namespace=namespace, token_variable=token_variable, ca_file=ca_file)
    server = preflight(connection)
    connection = fit(connection, server)
    if not server.version:
        typer.echo(
            "the server does not tell its version; this is written for Kubeflow Pipelines 2.17 and later", err=True
        )
    return connection, open_client(connection)


def print_table(table: object) -> None:
    """Print a table of rich's as wide as it needs to be where the output is no terminal."""
    from rich.console import Console

    Console(highlight=False, width=None if sys.stdout.isatty() else 160).print(table)


def need_kfp(command: str) -> None:
    """Check for kfp without importing it, which takes a second.

    Raises:
        MissingExtra: it is not installed.
    """
    if find_spec("kfp") is None:
        raise MissingExtra(f"{command} needs kfp, which is not installed; pip install 'taskmix[pipeline]'")
