"""The section `schedule`: when the cluster runs the pipeline again by itself."""

from __future__ import annotations

from typing import Annotated
from zoneinfo import available_timezones

from pydantic import Field, field_validator

from taskmix.config.cron import cron_problem
from taskmix.config.schema.section import Section


class Schedule(Section):
    """A recurring run of Kubeflow Pipelines; a local run ignores it."""

    cron: str
    """Six fields: seconds, minutes, hours, day of month, month, day of week; `0 0 2 * * 1` is Mondays at two."""
    timezone: str = "UTC"
    """The zone that the cluster's scheduler counts in, e.g. Europe/Berlin. KFP's API cannot set it: it is the variable
    CRON_SCHEDULE_TIMEZONE of the scheduled-workflow controller (UTC as Kubeflow ships it). Told here, the next times
    are told right."""
    max_concurrency: Annotated[int, Field(ge=1, le=10)] = 1
    """Runs of this schedule at the same time; one that is due while as many run starts when one of them ends."""
    catch_up: bool = False
    """Run every time that was missed while the schedule was off or busy; false runs the latest of them only."""

    @field_validator("cron")
    @classmethod
    def _six_fields(cls, cron: str) -> str:
        if problem := cron_problem(cron):
            raise ValueError(problem)
        return " ".join(cron.split())

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, zone: str) -> str:
        known = available_timezones()  # empty in an image without zone data, where no schedule is made either
        if known and zone not in known:
            raise ValueError("is no time zone of the IANA database; allowed: UTC, Europe/Berlin, America/New_York, ...")
        return zone
