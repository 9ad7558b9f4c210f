"""The typed shape of `scorecard.json`: what one job's bundle is worth on the test data. No computing here.

Written once by `evaluate`, read by `benchmark`, the gate and the graph's steps. Numbers that are undefined are null,
with a note that says why; NaN never reaches JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import ValidationError

from taskmix import storage
from taskmix.config.plan import EvaluationSlice
from taskmix.config.schema import Section
from taskmix.errors import EvaluationError
from taskmix.evaluation.intervals import Interval
from taskmix.evaluation.predictions import Predictions, read_predictions
from taskmix.modeling.bundle import EpochRecord

SCORECARD_FILE = "scorecard.json"
PREDICTIONS_FOLDER = "predictions"


class Score(Section):
    """One number about quality, with what it is made of."""

    value: float | None
    """numerator / denominator; null where the denominator is 0."""
    numerator: float
    denominator: float
    interval: Interval | None = None
    note: str | None = None
    """Why the value or its interval is null."""


class LabelRow(Section):
    """How one label of a classification, or one slot, came out."""

    label: str
    gold: int
    """How often it is right to answer it."""
    answered: int
    right: int
    precision: float | None
    recall: float | None
    f1: float | None


class ConfusedPair(Section):
    """One cell of a confusion matrix beside its diagonal."""

    gold: str
    predicted: str
    count: int
    share: float | None
    """Of the gold label's occurrences; null for spans that should not be there."""


class Confusion(Section):
    """What was answered where what was right.

    `(no valid answer)` is a column of its own where one was given. For slots a cell counts spans whose words agree;
    `(no span)` stands on either side for a span without counterpart.
    """

    labels: tuple[str, ...]
    matrix: tuple[tuple[int, ...], ...] | None
    """A row for each gold label, a column for each answered one, both in the order of `labels`; null where the labels
    are too many to draw it. The predictions have it all."""
    top: tuple[ConfusedPair, ...]
    """The most frequent confusions, most frequent first, then by label."""


class ReliabilityBin(Section):
    """The answers whose probability falls into (low, high]."""

    low: float
    high: float
    count: int
    confidence: float
    """Mean probability."""
    accuracy: float
    """Share that is right."""


class LengthRow(Section):
    """The texts of a task whose number of words lies in [low, high]."""

    low: int
    high: int
    texts: int
    score: Score
    """The task's primary score on them."""


class ErrorExample(Section):
    """A wrong answer that the model was sure of."""

    id: str
    text: str
    """Cut where long."""
    gold: str
    predicted: str
    probability: float | None
    """Of the answer; for slots of its least sure span; null where no span was answered."""


class TaskScorecard(Section):
    """One task's scores on its test examples."""

    task: str
    type: Literal["classification", "slot_filling"]
    dataset: str
    examples: int
    test_rows: int
    """Rows of the dataset's test split, labelled for this task or not: what a resample draws from."""
    test_data: str
    """sha256 of ids, texts and gold labels: equal where two models were measured on the same data."""
    labels: tuple[str, ...]
    unknown_gold: dict[str, int]
    """Gold labels outside the label space and how often each occurs; no answer to these can be right."""
    primary: str
    """Name of the score that the task is ranked, gated and chosen by."""
    scores: dict[str, Score]
    per_label: tuple[LabelRow, ...]
    confusion: Confusion
    reliability: tuple[ReliabilityBin, ...]
    worst_errors: tuple[ErrorExample, ...]
    lengths: tuple[LengthRow, ...] = ()
    """Shortest texts first."""

    @property
    def primary_score(self) -> Score:
        """The score that the task is ranked by."""
        return self.scores[self.primary]


class Speed(Section):
    """How fast a job answers its tasks of one dataset, on the machine that evaluated it."""

    dataset: str
    tasks: tuple[str, ...]
    warm_up_texts: int
    milliseconds: dict[str, float]
    """Id of each timed text to its time alone (batch 1). The same texts are timed for every job on the dataset."""
    p50_ms: float
    p99_ms: float
    texts_per_s: float
    """All texts of the test split in one call; of a model that is asked elsewhere, as many as its requests in flight
    and the time that each takes let through."""
    usd_per_text: float | None = None
    """What asking costs, where each answer has a price."""


class SystemSpeed(Section):
    """How long a system takes for a text, see `latency`; over several datasets, the mean of theirs."""

    p50_ms: float
    p99_ms: float
    texts_per_s: float
    usd_per_text: float | None = None
    """What asking costs, where each answer has a price."""


class Spending(Section):
    """What the answers have cost, where each has a price, whenever they were paid for."""

    requests: int
    input_tokens: int
    output_tokens: int
    usd: float
    """By the tokens billed and the configuration's prices."""
    unanswered_usd: float
    """The most that requests can have cost besides whose answer never came."""


class JobFacts(Section):
    """The trained job behind the scores."""

    name: str
    """`<model>.<block>`, whatever the seed."""
    seed: int | None = None
    """Of its training; null in scorecards of before seeds were told."""
    uri: str
    bundle: str
    """URI."""
    manifest: str
    """sha256 of the bundle's manifest: names its content."""
    kind: str
    tasks: tuple[str, ...]
    bytes: int
    parameters: int
    training_seconds: float
    epochs: float
    history: tuple[EpochRecord, ...] = ()
    """Epoch by epoch, or setting by setting, as the bundle's card tells it."""
    precision: str
    versions: dict[str, str]
    """Of the packages that trained it."""


class DatasetFacts(Section):
    """The data that the job was measured on."""

    name: str
    uri: str
    test_rows: int
    task_hashes: dict[str, str]
    """Of the job's tasks."""


class Scorecard(Section):
    """The content of `scorecard.json`."""

    format: Literal[1] = 1
    job: JobFacts
    slice: EvaluationSlice
    """How it was measured."""
    datasets: dict[str, DatasetFacts]
    tasks: dict[str, TaskScorecard]
    speed: dict[str, Speed]
    """By dataset."""
    spending: Spending | None = None
    """Of a model that is asked elsewhere."""
    machine: dict[str, str]
    versions: dict[str, str]
    """Of the packages that evaluated it."""


@dataclass(frozen=True)
class Evaluated:
    """An evaluation, read back from storage."""

    uri: str
    scorecard: Scorecard
    predictions: Mapping[str, Predictions]


def read_scorecard(evaluation: str) -> Scorecard:
    """The scorecard of an evaluation on storage, without its predictions.

    Raises:
        EvaluationError: it is of another format.
    """
    return _parse(storage.read_bytes(storage.join(evaluation, SCORECARD_FILE)), evaluation)


def read_evaluation(evaluation: str) -> Evaluated:
    """An evaluation on storage with its predictions, verified against its manifest.

    Raises:
        EvaluationError: it is of another format.
        StorageError: it is absent, incomplete or damaged.
    """
    with storage.local_copy(evaluation) as folder:
        scorecard = _parse((folder / SCORECARD_FILE).read_bytes(), evaluation)
        files = {task: folder / PREDICTIONS_FOLDER / f"{task}.parquet" for task in scorecard.tasks}
        return Evaluated(evaluation, scorecard, {task: read_predictions(path) for task, path in files.items()})


def _parse(data: bytes, evaluation: str) -> Scorecard:
    try:
        return Scorecard.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise EvaluationError(
            f"{evaluation}/{SCORECARD_FILE}: '{where}': {first['msg']}; this version reads scorecards of format 1: "
            "evaluate the job again"
        ) from None
