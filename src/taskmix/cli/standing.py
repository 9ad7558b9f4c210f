"""What of a plan is already done on storage: datasets ingested, jobs trained. Only looks; writes and downloads nothing.

Storage and sources may be out of reach (another machine, no credentials); then the standing says so instead of failing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from taskmix import storage
from taskmix.config.plan import Job, Plan
from taskmix.errors import TaskmixError

if TYPE_CHECKING:
    from taskmix.data.dataset import Dataset


@dataclass(frozen=True)
class Standing:
    """How far one dataset or job is.

    Attributes:
        state: `done`, `half` (checkpoints, but no bundle), `to do`, or `unknown` (something is out of reach).
        uri: where it lies or will lie; empty where that is not known yet.
        reason: why the state is not known.
    """

    state: Literal["done", "half", "to do", "unknown"]
    uri: str = ""
    reason: str = ""


def dataset_standings(plan: Plan) -> dict[str, Standing]:
    """Each of the plan's datasets to its standing; sources are asked for their version, nothing is fetched."""
    return {name: _dataset_standing(plan, name) for name in plan.config.datasets}


def _dataset_standing(plan: Plan, name: str) -> Standing:
    from taskmix.data.ingest import source_version

    try:
        version = source_version(plan.dataset_slice(name))
        uri = storage.join(plan.config.storage, "datasets", name, version)
        return Standing("done" if storage.is_complete(uri) else "to do", uri)
    except TaskmixError as error:
        return Standing("unknown", reason=str(error))


def dataset_cards(datasets: Mapping[str, Standing]) -> dict[str, Dataset]:
    """The datasets that are ingested, each by its card."""
    return {name: _dataset_card(standing.uri) for name, standing in datasets.items() if standing.state == "done"}


def job_standings(plan: Plan, *, datasets: Mapping[str, Standing], cards: Mapping[str, Dataset]) -> dict[Job, Standing]:
    """Each job to its standing; a job is named by its data, so one whose data is not ingested is still to do."""
    return {job: _job_standing(plan, job, datasets=datasets, cards=cards) for job in plan.jobs}


def _dataset_card(uri: str) -> Dataset:
    """The dataset by its card alone, which holds all that names a job."""
    from taskmix.data.dataset import CARD, Dataset

    return Dataset(Path(), storage.read_json(storage.join(uri, CARD)))


def _job_standing(plan: Plan, job: Job, *, datasets: Mapping[str, Standing], cards: Mapping[str, Dataset]) -> Standing:
    job_slice = plan.job_slice(job)
    for name in job_slice.datasets:
        if datasets[name].state != "done":
            return Standing("unknown" if datasets[name].state == "unknown" else "to do")
    from taskmix.training.job import job_fingerprint  # imports torch: only where there is something to look for

    try:
        uri = storage.join(plan.config.storage, "jobs", job.name, job_fingerprint(job_slice, datasets=cards))
        if storage.is_complete(storage.join(uri, "bundle")):
            return Standing("done", uri)
        begun = any(True for _ in storage.list_objects(storage.join(uri, "checkpoints")))
        return Standing("half" if begun else "to do", uri)
    except TaskmixError as error:
        return Standing("unknown", reason=str(error))
