"""`taskmix deploy` and `taskmix rollback`: what the cluster serves, changed by hand as the pipeline changes it."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Annotated, Any

import typer

from taskmix.cli.options import ConfigArgument, SetOption, StorageOption, read_config
from taskmix.errors import MissingExtra

RunOption = Annotated[
    str, typer.Option("--run", metavar="RUN", help="The run whose accepted system is deployed.", show_default=False)
]


AgainOption = Annotated[
    bool,
    typer.Option("--again", help="Deploy it though its bundles were rolled back; the rollback stands no longer then."),
]


def deploy(
    config: ConfigArgument,
    run: RunOption,
    again: AgainOption = False,
    overrides: SetOption = None,
    storage: StorageOption = None,
) -> None:
    """Deploy a run's accepted system to KServe: canary first, asked what evaluation was asked, promoted or taken back.

    The cluster is the kubeconfig's current context, or the one that this runs in.
    """
    from taskmix.config.plan import make_plan
    from taskmix.serving.releases import stage
    from taskmix.storage import join

    checked = read_config(config, overrides=overrides, storage=storage)
    _need_kubernetes("deploy")
    from taskmix.cluster.deploying import deploy as deploy_release

    report = join(checked.storage, "runs", run, "report")
    release = stage(report, deployment=checked.deployment.name, run=run, again=again)
    _tell(deploy_release(release, make_plan(checked).deployment_slice(), again=again))


def rollback(config: ConfigArgument, overrides: SetOption = None, storage: StorageOption = None) -> None:
    """Serve the champion before this one again, to everyone at once, as soon as it is ready.

    What is left is remembered as rolled back: no run deploys its bundles again, until `taskmix deploy --again` does.
    """
    from taskmix.config.plan import make_plan

    checked = read_config(config, overrides=overrides, storage=storage)
    _need_kubernetes("rollback")
    from taskmix.cluster.deploying import roll_back

    record = _tell(roll_back(checked.storage, make_plan(checked).deployment_slice()))
    left = record["rollbacks"][-1]
    typer.echo(
        f"rolled back: {left['system']['name']} of run {left['run']}; no run deploys its bundles again by itself, "
        f"taskmix deploy --run {left['run']} --again does"
    )


def _tell(champion: str) -> dict[str, Any]:
    from taskmix.storage import read_json

    record: dict[str, Any] = read_json(champion)
    served = record["served"]
    typer.echo(f"champion: {record['system']} of run {record['run']}, {champion}")
    typer.echo(f"served by InferenceService {served['inference_service']} in namespace {served['namespace']}")
    if served["url"]:
        typer.echo(f"url: {served['url']}/v1/models/{served['inference_service']}:predict")
    return record


def _need_kubernetes(command: str) -> None:
    """Check for the client without importing it.

    Raises:
        MissingExtra: it is not installed.
    """
    if find_spec("kubernetes") is None:
        raise MissingExtra(f"{command} needs kubernetes, which is not installed; pip install 'taskmix[pipeline]'")
