"""Run a recorded configuration once more, to a storage of its own, and hold both runs side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pydantic import ValidationError

from taskmix import storage
from taskmix.config.schema import Config
from taskmix.errors import ConfigError
from taskmix.evaluation.reproduction import Finding, compare_runs
from taskmix_pipelines.local import run_locally

if TYPE_CHECKING:
    from rich.table import Table

CONFIG_FILE = "config.json"
_STYLES = {"identical": "green", "within": "yellow", "differs": "red"}


def reproduce(run: str, *, into: str, tell: Callable[[str], None]) -> list[Finding]:
    """Run the configuration of a run again, from nothing.

    Args:
        run: URI of the run, `<storage>/runs/<run>`.
        into: another storage, where everything is made anew; what an interrupted repetition left there is used.
        tell: gets each line that people should see.

    Raises:
        ConfigError: the configuration is one of another version, or `into` is the run's own storage.
        RunFailed: a step failed.
    """
    config = recorded_config(run)
    if storage.join(into, "runs") == run.rstrip("/").rpartition("/")[0]:
        raise ConfigError(run, [f"storage: {into} is the run's own, where all would be found done; give another"])
    again = run_locally(config.model_copy(update={"storage": into}), tell=tell)
    return compare_runs(run, again.uri)


def recorded_config(run: str) -> Config:
    """The configuration that a run recorded.

    Raises:
        NotFound: there is no such run.
        ConfigError: this version does not read it.
    """
    uri = storage.join(run, CONFIG_FILE)
    try:
        return Config.model_validate(storage.read_json(uri))
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, found['loc']))}: {found['msg']}" for found in error.errors()]
        raise ConfigError(uri, [*problems, "use the version of taskmix that made the run"]) from None


def findings_table(findings: Sequence[Finding]) -> Table:
    """The findings for a terminal."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for column in ("what", "outcome", "found"):
        table.add_column(column, overflow="fold")
    for finding in findings:
        style = _STYLES[finding.outcome]
        table.add_row(escape(finding.what), f"[{style}]{finding.outcome}[/]", escape(finding.told))
    return table
