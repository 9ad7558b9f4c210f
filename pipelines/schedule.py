"""Keep one recurring run of a configuration on the cluster: by name, replaced, never changed.

KFP cannot change a recurring run, so another is made and the old one deleted. Whatever fails on the way, one that is
enabled stays, and the error says which.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from taskmix.config.schema import Config, Schedule
from taskmix.errors import ConfigError, PipelineServiceError
from taskmix_pipelines.connection import Connection
from taskmix_pipelines.submit import Version, calls, experiment, named, pipeline_root, upload
from taskmix_pipelines.times import in_words

if TYPE_CHECKING:
    from kfp import Client

ORPHAN = "ORPHAN"
"""Deleting a recurring run takes the runs that it has begun with it, a training that goes on too, unless they are left
as orphans (`DeletePropagationPolicy` of the API, 2.17)."""
_PAGE = 100


@dataclass(frozen=True)
class Applied:
    """A schedule that is on the cluster now.

    Attributes:
        what: whether it was made, took another's place, or was there as it should be.
        id: the recurring run's.
        replaced: ids of those that it took the place of.
        version: the pipeline version that it runs.
    """

    what: Literal["created", "replaced", "unchanged"]
    id: str
    version: Version
    replaced: tuple[str, ...] = ()


def apply(
    config: Config,
    *,
    client: Client,
    connection: Connection,
    source: str = "configuration",
    service_account: str | None = None,
) -> Applied:
    """Make the cluster run `config` as its `schedule` says, and no other schedule of its name.

    Args:
        config: what to run.
        client: kfp's client.
        connection: where it leads.
        source: what the configuration is called in errors.
        service_account: Kubernetes service account of the steps; null takes Kubeflow's default.

    Raises:
        ConfigError: it has no schedule, or cannot run on a cluster.
        PipelineServiceError: Kubeflow Pipelines refuses; the message says which schedule is left.
    """
    schedule = wanted(config, source=source)
    version = upload(config, client=client, connection=connection, source=source)
    old = schedules(client, connection=connection, name=config.name)
    root = pipeline_root(config)
    if len(old) == 1 and _is_as_wanted(old[0], schedule, version, root=root, service_account=service_account):
        return Applied("unchanged", old[0].recurring_run_id, version)
    with calls(f"the schedule could not be made{_goes_on(old)}"):
        new = client.create_recurring_run(
            experiment_id=experiment(config, client=client, connection=connection),
            job_name=config.name,
            description=f"taskmix: {in_words(schedule.cron)}",
            cron_expression=schedule.cron,
            max_concurrency=schedule.max_concurrency,
            no_catchup=not schedule.catch_up,
            pipeline_id=version.pipeline,
            version_id=version.id,
            pipeline_root=root,
            service_account=service_account,
        ).recurring_run_id
    replaced = tuple(run.recurring_run_id for run in old)
    _take_the_place(client, new=new, old=replaced)
    return Applied("replaced" if old else "created", new, version, replaced)


def delete(client: Client, *, connection: Connection, name: str) -> list[str]:
    """Delete every schedule of a name; the runs that it has begun go on.

    Returns:
        Their ids.

    Raises:
        PipelineServiceError: there is none, or Kubeflow Pipelines refuses.
    """
    found = [run.recurring_run_id for run in schedules(client, connection=connection, name=name)]
    if not found:
        raise PipelineServiceError(f"no schedule is called {name!r}; taskmix schedule list shows those there are")
    for identity in found:
        _delete(client, identity)
    return found


def schedules(client: Client, *, connection: Connection, name: str | None = None) -> list[Any]:
    """The recurring runs of a name, or all, oldest first.

    Raises:
        PipelineServiceError: Kubeflow Pipelines refuses.
    """
    with calls("the schedules could not be listed"):
        return list(_pages(client, connection=connection, filter=named(name) if name else None))


def wanted(config: Config, *, source: str) -> Schedule:
    """The configuration's schedule.

    Raises:
        ConfigError: it has none.
    """
    if config.schedule is None:
        raise ConfigError(source, ["schedule: is missing; say when to run, e.g. schedule: {cron: 0 0 2 * * 1}"])
    return config.schedule


def _pages(client: Client, *, connection: Connection, filter: str | None) -> Iterator[Any]:
    token = ""
    while True:
        page = client.list_recurring_runs(
            page_token=token,
            page_size=_PAGE,
            sort_by="created_at",
            namespace=connection.namespace or None,
            filter=filter,
        )
        yield from page.recurring_runs or ()
        token = page.next_page_token
        if not token:
            return


def _is_as_wanted(run: Any, schedule: Schedule, version: Version, *, root: str, service_account: str | None) -> bool:
    cron = run.trigger.cron_schedule if run.trigger else None
    source, runtime = run.pipeline_version_reference, run.runtime_config
    return (
        run.status == "ENABLED"
        and cron is not None
        and cron.cron == schedule.cron
        and int(run.max_concurrency or 0) == schedule.max_concurrency
        and bool(run.no_catchup) is not schedule.catch_up
        and source is not None
        and source.pipeline_version_id == version.id
        and runtime is not None
        and runtime.pipeline_root == root
        # Without one the server fills in its own.
        and service_account in (None, run.service_account)
    )


def _take_the_place(client: Client, *, new: str, old: Sequence[str]) -> None:
    """Delete the old schedules now that the new one is there; if that fails, delete the new one again.

    Raises:
        PipelineServiceError: says which schedules are left.
    """
    for identity in old:
        try:
            _delete(client, identity)
        except PipelineServiceError as failure:
            try:
                _delete(client, new)
            except PipelineServiceError:
                raise PipelineServiceError(
                    f"{failure}; nor could the new schedule {new}: both are enabled now, and both will run; apply "
                    "again when the server answers"
                ) from None
            raise PipelineServiceError(
                f"{failure}; so the new schedule has been deleted again, and {identity} goes on as before"
            ) from None


def _delete(client: Client, identity: str) -> None:
    """Delete one schedule; one that is gone already, by a deletion whose answer was lost, is deleted too."""
    import kfp_server_api

    with calls(f"schedule {identity} could not be deleted"):
        try:
            # client.delete_recurring_run knows no policy.
            client.recurring_runs.recurring_run_service_delete_recurring_run(identity, propagation_policy=ORPHAN)
        except kfp_server_api.ApiException as error:
            if error.status != 404:
                raise


def _goes_on(old: Sequence[Any]) -> str:
    return f"; {old[-1].recurring_run_id} goes on as before" if old else ""
