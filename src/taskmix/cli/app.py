"""The `taskmix` application: its commands, its logging, and the commands that installed packages add to it."""

from __future__ import annotations

import logging
import sys
from importlib.metadata import entry_points
from typing import Annotated

import typer

from taskmix import __version__
from taskmix.cli import commands, deployment, plan, predict, runs

COMMAND_GROUP = "taskmix.commands"
"""Entry points of this group name a function `register(app: typer.Typer) -> None` that adds commands."""

_OURS = ("taskmix", "taskmix_components", "taskmix_pipelines")


def make_app() -> typer.Typer:
    """The application with every command of this installation."""
    app = typer.Typer(
        name="taskmix",
        help="Fine-tune, compare, merge and serve text classifiers, from one configuration file.",
        no_args_is_help=True,
        rich_markup_mode="markdown",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_configure)
    app.command()(commands.validate)
    app.command("plan")(plan.plan)
    for entry_point in sorted(entry_points(group=COMMAND_GROUP)):
        try:
            entry_point.load()(app)
        except ImportError as error:
            print(f"taskmix: the commands of {entry_point.value} are not available: {error}", file=sys.stderr)
    app.command()(runs.report)
    app.command()(runs.verify)
    app.command()(runs.history)
    app.command()(commands.export)
    app.command()(commands.serve)
    app.command()(deployment.deploy)
    app.command()(deployment.rollback)
    app.command()(predict.predict)
    return app


def _tell_version(asked: bool) -> None:
    if asked:
        typer.echo(f"taskmix {__version__}")
        raise typer.Exit


def _configure(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log more, of other packages too.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Log warnings and errors only.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_tell_version)
    ] = False,
) -> None:
    configure_logging(level=logging.DEBUG if verbose else logging.WARNING if quiet else logging.INFO)


def configure_logging(*, level: int) -> None:
    """One event, one line, on standard error; other packages' lines from warning on, or from info at `--verbose`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S"))
    logging.root.handlers = [handler]
    logging.root.setLevel(logging.INFO if level == logging.DEBUG else logging.WARNING)
    for name in _OURS:
        logging.getLogger(name).setLevel(level)
