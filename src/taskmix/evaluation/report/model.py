"""The typed shape of `report.json`: all that HTML and Markdown say, which are rendered from this alone.

Written by `benchmark`, read by `render`, the gate and serving's staging of a release.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ValidationError

from taskmix import storage
from taskmix.config.schema import Config, Section
from taskmix.errors import EvaluationError
from taskmix.evaluation.intervals import Interval
from taskmix.evaluation.scorecard import Score, SystemSpeed, TaskScorecard
from taskmix.modeling.bundle import EpochRecord

REPORT_FILE = "report.json"


class SeedRow(Section):
    """What a system is worth at one training seed."""

    seed: int
    ranked: Score
    tasks: dict[str, dict[str, Score]]


class SystemRow(Section):
    """One line of the leaderboard: what the system is worth and what it costs."""

    rank: int
    name: str
    model: str
    grouping: str
    ranked: Score
    """The score that the leaderboard is ordered by: `gate.rank_by`."""
    mean: Score
    """Mean of the tasks' primary scores."""
    tasks: dict[str, dict[str, Score]]
    """Task to its scores by name, the primary one first. With several seeds the means over them, as are `ranked`,
    `mean` and `frames`; what is deployed are the first seed's jobs, whose own scores are `deployed`."""
    frames: dict[str, Score]
    """Dataset to the exact match of the whole frame, where the dataset has several tasks."""
    speed: SystemSpeed
    speed_by_dataset: dict[str, SystemSpeed]
    jobs: tuple[str, ...]
    bytes: int
    parameters: int
    training_seconds: float
    training_usd: float | None
    """Null where the hardware has no price."""
    usd_per_million_texts: float | None
    """Of serving at the measured throughput on the training hardware; null where the hardware has no price."""
    record: str
    """URI of the system's record."""
    seeds: tuple[SeedRow, ...] = ()
    """Each training seed's scores, where there are several; the first is what is deployed."""

    @property
    def deployed(self) -> dict[str, dict[str, Score]]:
        """Task to its scores by name, of the jobs that would be deployed."""
        return self.seeds[0].tasks if self.seeds else self.tasks


class Comparison(Section):
    """A paired comparison of two systems on one score, over the same resamples of the test data."""

    system: str
    against: str
    score: str
    """`mean`, or the name of a task (its primary score)."""
    difference: float | None
    """The system's score minus the other's."""
    interval: Interval | None


class PairedTest(Section):
    """What the test set says of two systems on one task, see docs/statistics.md."""

    system: str
    against: str
    task: str
    score: str
    """The task's primary score."""
    texts: int
    shared: bool
    """The same bundle answers the task in both systems: equal by making, so nothing is tested."""
    difference: float | None
    """The system's score minus the other's."""
    interval: Interval | None
    gained: int | None = None
    """Accuracy: texts that only the system answers rightly; null for F1."""
    lost: int | None = None
    """Accuracy: texts that only the other answers rightly; null for F1."""
    test: Literal["exact McNemar", "approximate randomisation", "two-level bootstrap"]
    """Of the difference; the last where a side has several training seeds."""
    p_difference: float | None = None
    """Of 'equally good'. Every p is followed by the same after Holm's correction for its family."""
    p_difference_adjusted: float | None = None
    margin: float | None
    """Of the configuration; null where it sets none for the score."""
    p_not_worse: float | None = None
    """Of 'worse by the margin or more'."""
    p_not_worse_adjusted: float | None = None
    p_equivalent: float | None = None
    """Of 'apart by the margin or more' (two one-sided tests)."""
    p_equivalent_adjusted: float | None = None
    alpha: float
    """1 - confidence: what an adjusted p must not exceed."""
    detectable_margin: float | None
    """The smallest margin that such a test shows 'not worse' for with 80 % power, were the systems equal."""
    detectable_equivalence_margin: float | None
    """The same for 'equivalent'."""
    outcome: Literal["not worse", "worse", "undecided"]

    @property
    def equivalent(self) -> bool:
        """Whether equivalence within the margin is shown."""
        return self.shared or (self.p_equivalent_adjusted is not None and self.p_equivalent_adjusted <= self.alpha)


class Trade(Section):
    """A figure of both systems of a merge verdict."""

    merged: float | None
    apart: float | None


class MergeVerdict(Section):
    """Whether one model should answer what several answer now."""

    model: str
    merged: str
    """The system of fewer jobs."""
    apart: str
    """The system of this model with the most jobs."""
    verdict: Literal["merge", "keep apart", "undecided"]
    sentence: str
    """For a reader who reads nothing else."""
    tests: tuple[PairedTest, ...]
    """One a task, merged minus apart."""
    jobs: Trade
    p50_ms: Trade
    texts_per_s: Trade
    bytes: Trade
    training_seconds: Trade
    training_usd: Trade
    usd_per_million_texts: Trade


class Economy(Section):
    """Which systems are worth their cost."""

    cost: Literal["usd_per_million_texts", "p50_ms"]
    """What cost means here: the price of serving where every system has one, else the latency."""
    frontier: tuple[str, ...]
    """Systems that no other beats in the ranked score without costing more; cheapest first."""
    cheapest: str | None
    """The cheapest system shown to be not worse than the best on any task; null where no margin allows to say it."""
    sentence: str
    tests: tuple[PairedTest, ...]
    """Every cheaper system against the best, by task."""


class JobRow(Section):
    """One trained model behind the systems."""

    name: str
    model: str
    seed: int | None = None
    kind: str
    tasks: tuple[str, ...]
    systems: tuple[str, ...]
    bundle: str
    manifest: str
    evaluation: str
    bytes: int
    parameters: int
    training_seconds: float
    training_usd: float | None
    epochs: float
    history: tuple[EpochRecord, ...] = ()
    precision: str
    reused_from: str | None
    """An earlier run that had this very bundle in one of its systems; null: it is new with this run."""
    versions: dict[str, str]
    machine: dict[str, str]


class TaskDetail(Section):
    """One task of one job in full."""

    job: str
    systems: tuple[str, ...]
    card: TaskScorecard


class DatasetRow(Section):
    """The data behind the scores."""

    name: str
    uri: str
    card: dict[str, Any]


class Report(Section):
    """The content of `report.json`."""

    format: Literal[1] = 1
    run: str
    created: str
    """Date and time, UTC, ISO 8601."""
    taskmix: str
    """Version that wrote it."""
    config: Config
    primary: dict[str, str]
    """Task to the name of its primary score."""
    systems: tuple[SystemRow, ...]
    """Best first."""
    comparisons: tuple[Comparison, ...]
    verdicts: tuple[MergeVerdict, ...] = ()
    """One for each model that is there in several groupings."""
    economy: Economy | None = None
    jobs: tuple[JobRow, ...]
    details: tuple[TaskDetail, ...]
    details_left_out: tuple[str, ...]
    """`job / task` whose details stay in the job's scorecard only, to keep the report small."""
    datasets: tuple[DatasetRow, ...]
    remarks: tuple[str, ...]
    """What a reader must know to read the numbers rightly in this run."""
    left_out: tuple[str, ...] = ()
    """What one might look for here and not find, each with the reason."""

    @property
    def best(self) -> SystemRow:
        """The system at the top."""
        return self.systems[0]


def parse_report(data: bytes, *, source: str) -> Report:
    """The report in the bytes of a `report.json`.

    Raises:
        EvaluationError: it is of another format.
    """
    try:
        return Report.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise EvaluationError(
            f"{storage.redact(source)}: '{where}': {first['msg']}; this version reads reports of format 1: use the "
            "version that wrote it, or run the pipeline again"
        ) from None


def read_report(report: str) -> Report:
    """The report at a URI, `<storage>/runs/<run>/report`.

    Raises:
        NotFound: there is none.
        EvaluationError: it is of another format.
    """
    uri = storage.join(report, REPORT_FILE)
    return parse_report(storage.read_bytes(uri), source=uri)
