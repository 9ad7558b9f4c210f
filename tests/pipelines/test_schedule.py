"""A schedule on the cluster: made, left alone, replaced, and never lost when something fails on the way."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from kfp_server import KfpServer
from typer.testing import CliRunner

from taskmix.cli.app import make_app
from taskmix.config.schema import Config, Schedule
from taskmix.errors import ConfigError, PipelineServiceError
from taskmix_pipelines.connection import Connection
from taskmix_pipelines.schedule import apply, delete, schedules
from taskmix_pipelines.times import in_words, next_times, told

if TYPE_CHECKING:
    from kfp import Client

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
"""A Wednesday."""


def at(config: Config, cron: str) -> Config:
    return config.model_copy(update={"schedule": Schedule(cron=cron)})


def test_schedule_is_made_as_the_configuration_says(
    kfp_server: KfpServer, client: Client, connection: Connection, tiny: Config
) -> None:
    done = apply(tiny, client=client, connection=connection, service_account="runner")
    assert done.what == "created"
    (made,) = kfp_server.state.recurring.values()
    assert made["trigger"] == {"cron_schedule": {"cron": "0 0 2 * * 1"}}
    assert (made["status"], made["max_concurrency"], made["no_catchup"]) == ("ENABLED", "1", True)
    assert made["pipeline_version_reference"]["pipeline_version_id"] == done.version.id
    assert made["runtime_config"]["pipeline_root"] == "s3://bucket/tiny/kfp/tiny"
    assert made["service_account"] == "runner"
    assert made["description"] == "taskmix: At 02:00, only on Monday"


def test_schedule_that_is_as_it_should_be_stays(
    kfp_server: KfpServer, client: Client, connection: Connection, tiny: Config
) -> None:
    first = apply(tiny, client=client, connection=connection)
    again = apply(tiny, client=client, connection=connection)
    assert (again.what, again.id) == ("unchanged", first.id)
    assert list(kfp_server.state.recurring) == [first.id]


def test_replacing_is_this_conversation(
    kfp_server: KfpServer, client: Client, connection: Connection, tiny: Config
) -> None:
    old = apply(tiny, client=client, connection=connection)
    begin = len(kfp_server.talk)
    new = apply(at(tiny, "0 30 6 * * *"), client=client, connection=connection)
    assert (new.what, new.replaced) == ("replaced", (old.id,))
    assert list(kfp_server.state.recurring) == [new.id]
    exchanges = kfp_server.talk[begin:]
    assert [exchange.operation for exchange in exchanges] == [
        "pipeline_service_list_pipelines",
        "pipeline_service_list_pipeline_versions",
        "upload_pipeline_version",
        "recurring_run_service_list_recurring_runs",
        "experiment_service_list_experiments",
        "recurring_run_service_create_recurring_run",
        "recurring_run_service_delete_recurring_run",
    ]
    assert str(exchanges[-1]) == f"DELETE /apis/v2beta1/recurringruns/{old.id}?propagation_policy=ORPHAN 200"


@pytest.mark.parametrize(("change", "value"), [("catch_up", True), ("max_concurrency", 2), ("cron", "0 0 3 * * 1")])
def test_each_change_of_the_schedule_replaces_it(
    client: Client, connection: Connection, tiny: Config, change: str, value: object
) -> None:
    apply(tiny, client=client, connection=connection)
    assert tiny.schedule is not None
    changed = tiny.model_copy(update={"schedule": tiny.schedule.model_copy(update={change: value})})
    assert apply(changed, client=client, connection=connection).what == "replaced"


def test_disabled_and_doubled_schedules_are_put_right(
    kfp_server: KfpServer, client: Client, connection: Connection, tiny: Config
) -> None:
    first = apply(tiny, client=client, connection=connection)
    kfp_server.state.recurring[first.id]["status"] = "DISABLED"
    second = apply(tiny, client=client, connection=connection)
    kfp_server.state.recurring["twin"] = {**kfp_server.state.recurring[second.id], "recurring_run_id": "twin"}
    third = apply(tiny, client=client, connection=connection)
    assert third.replaced == (second.id, "twin")
    assert list(kfp_server.state.recurring) == [third.id]


@pytest.mark.parametrize(
    ("faults", "expected", "left"),
    [
        (
            {"recurring_run_service_create_recurring_run": [500]},
            "the schedule could not be made; {old} goes on as before: HTTP 500",
            ["old"],
        ),
        (
            {"recurring_run_service_delete_recurring_run": [500]},
            "so the new schedule has been deleted again, and {old} goes on as before",
            ["old"],
        ),
        (
            {"recurring_run_service_delete_recurring_run": [503, 503]},
            "both are enabled now, and both will run; apply again when the server answers",
            ["old", "new"],
        ),
    ],
)
def test_failure_on_the_way_leaves_one_that_is_enabled_and_says_which(
    kfp_server: KfpServer,
    client: Client,
    connection: Connection,
    tiny: Config,
    faults: dict[str, list[int]],
    expected: str,
    left: list[str],
) -> None:
    old = apply(tiny, client=client, connection=connection).id
    kfp_server.faults = faults
    with pytest.raises(PipelineServiceError) as error:
        apply(at(tiny, "0 30 6 * * *"), client=client, connection=connection)
    assert expected.format(old=old) in str(error.value)
    recurring = kfp_server.state.recurring
    assert ["old" if identity == old else "new" for identity in recurring] == left
    assert recurring[old]["status"] == "ENABLED"
    assert apply(at(tiny, "0 30 6 * * *"), client=client, connection=connection).what == "replaced"
    assert len(recurring) == 1


def test_lost_answer_to_a_deletion_is_no_failure(
    kfp_server: KfpServer, client: Client, connection: Connection, tiny: Config
) -> None:
    apply(tiny, client=client, connection=connection)
    kfp_server.faults["recurring_run_service_delete_recurring_run"] = [404]
    assert apply(at(tiny, "0 30 6 * * *"), client=client, connection=connection).what == "replaced"


def test_schedules_beyond_one_page_are_found(
    kfp_server: KfpServer, client: Client, connection: Connection, tiny: Config
) -> None:
    made = apply(tiny, client=client, connection=connection)
    for number in range(130):
        kfp_server.state.recurring[str(number)] = {
            **kfp_server.state.recurring[made.id],
            "recurring_run_id": str(number),
        }
    assert len(schedules(client, connection=connection)) == 131
    assert len(delete(client, connection=connection, name="tiny")) == 131
    assert not kfp_server.state.recurring
    with pytest.raises(PipelineServiceError, match="no schedule is called 'tiny'; taskmix schedule list"):
        delete(client, connection=connection, name="tiny")


def test_configuration_without_a_schedule_is_told(client: Client, connection: Connection, tiny: Config) -> None:
    with pytest.raises(ConfigError, match=r"schedule: is missing; .*cron: 0 0 2 \* \* 1"):
        apply(tiny.model_copy(update={"schedule": None}), client=client, connection=connection)


def test_next_times_are_those_of_kfps_scheduler() -> None:
    def times(cron: str, timezone: str = "UTC") -> list[str]:
        return [f"{time:%a %m-%d %H:%M:%S %Z}" for time in next_times(cron, after=NOW, timezone=timezone)]

    assert times("0 0 2 * * 1") == ["Mon 11-30 02:00:00 UTC", "Mon 12-07 02:00:00 UTC", "Mon 12-14 02:00:00 UTC"]
    assert times("0 0 2 ? * MON-FRI")[0] == "Thu 11-26 02:00:00 UTC"
    assert times("*/30 * * * * *")[:2] == ["Wed 11-25 12:00:30 UTC", "Wed 11-25 12:01:00 UTC"]
    # Either day fires where both are given (robfig/cron 1.2, `dayMatches`).
    assert times("0 0 2 1 * 5")[:2] == ["Fri 11-27 02:00:00 UTC", "Tue 12-01 02:00:00 UTC"]
    assert times("0 0 2 * * 1", "Europe/Berlin")[0] == "Mon 11-30 02:00:00 CET"


def test_schedule_is_told_in_words_with_whose_clock_counts() -> None:
    when, following, clock = told(Schedule(cron="0 30 6 * * 1-5", timezone="Europe/Berlin"), now=NOW)
    assert when == "At 06:30, Monday through Friday; one run at a time, of missed times only the latest runs"
    assert following == ("next: Thu 2026-11-26 06:30:00 CET, Fri 2026-11-27 06:30:00 CET, Mon 2026-11-30 06:30:00 CET")
    assert "counts in Europe/Berlin" in clock
    assert "CRON_SCHEDULE_TIMEZONE of its deployment ml-pipeline-scheduledworkflow" in clock
    assert in_words("*/10 * * * * ?") == "Every 10 seconds"


def test_commands_apply_list_and_delete(kfp_server: KfpServer, tiny_file: Path, cluster: list[str]) -> None:
    def run(*arguments: str) -> list[str]:
        done = CliRunner().invoke(make_app(), ["schedule", *arguments, "--host", kfp_server.url])
        assert done.exit_code == 0, done.output
        return done.stdout.splitlines()

    first, when, following, _ = run("apply", str(tiny_file), *cluster)
    (identity,) = kfp_server.state.recurring
    assert first.startswith(f"schedule tiny: created ({identity}), runs pipeline version tiny-")
    assert when.strip().startswith("At 02:00, only on Monday; one run at a time")
    assert following.count("Mon 20") == 3
    listed = run("list", str(tiny_file))
    assert any(line.split()[:2] == ["tiny", "enabled"] and identity in line for line in listed)
    assert run("delete", str(tiny_file)) == [f"schedule tiny: deleted ({identity})"]
    assert run("list") == ["no schedules"]
