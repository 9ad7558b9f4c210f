"""The section `schedule`: when the cluster runs the pipeline again by itself."""

from __future__ import annotations

from typing import Annotated
from zoneinfo import available_timezones

from pydantic import Field, field_validator, model_validator

from taskmix.config.cron import cron_problem
from taskmix.config.schema.section import Positive, Section


class RetrainWhen(Section):
    """What must have happened to a dataset before a run learns from its new version.

    Else the run goes on with the version that the served system learned from, finds every job finished and ends with
    "nothing new". Holds for every run of the configuration, also by hand and on this machine; a changed job learns from
    what there is.
    """

    min_new_rows: Positive | None = None
    """So many rows are new: their text with these labels was not there before; null does not count."""
    drift_psi: Annotated[float, Field(gt=0.0)] | None = None
    """The new rows' labels, lengths or words have a population stability index above this, and above chance, against
    the rows before; 0.1 is little, 0.25 a large shift by convention; null does not look."""
    drift_texts: Positive | None = None
    """With drift_psi: so many of the new texts, and as many held out before, are answered by the served system, and a
    shift of its answers counts as well; null asks it nothing. It costs those answers, on the models' hardware."""

    @model_validator(mode="after")
    def _says_something(self) -> RetrainWhen:
        if self.min_new_rows is None and self.drift_psi is None:
            raise ValueError("says nothing; give min_new_rows, drift_psi or both (then either is enough)")
        if self.drift_texts is not None and self.drift_psi is None:
            raise ValueError(
                "has drift_texts without drift_psi, so nothing says what a drift is; give drift_psi, e.g. 0.2"
            )
        return self


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
    retrain_when: RetrainWhen | None = None
    """Null learns from every new version of the data."""

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
