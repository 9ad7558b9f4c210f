"""What a model answered to every test example of one task: as columns in memory, as Parquet on storage.

One file holds one task of one job. It carries the texts and gold labels too, so that errors can be read, answers
compared and every figure computed again with nothing but the file. Scores are made of this in `metrics`.

Columns: `row` (position in the dataset's test split), `id`, `text`, then for classification `gold`, `predicted`,
`probability`, `probabilities` (in the order of the label space); for slot filling `gold`, `predicted` (lists of
{start, end, slot} in words) and `probabilities` (one a predicted span); for both `valid` (whether the model answered
the question at all). Task, type and labels lie in the metadata.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from taskmix.data.dataset import SPANS_TYPE, Row
from taskmix.data.schema import Span
from taskmix.errors import EvaluationError
from taskmix.modeling.answers import NO_ANSWER, Answer, ClassificationAnswer, SlotsAnswer, TaskHead

METADATA = b"taskmix"


@dataclass(frozen=True)
class Examples:
    """The test examples of one task: the rows of a test split that have a label for it, in the split's order.

    Attributes:
        task: its name.
        labels: the label space that the model answers in; a gold label may lie outside it.
        rows: (examples,) positions in the test split.
        ids: the rows' ids.
        texts: the rows' texts.
    """

    task: str
    labels: tuple[str, ...]
    rows: NDArray[np.int64]
    ids: tuple[str, ...]
    texts: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class ClassificationPredictions:
    """Answers to a classification task.

    Attributes:
        examples: what was asked.
        gold: the right labels.
        predicted: the labels answered, or `NO_ANSWER`.
        probability: (examples,) float64, calibrated, of the label answered.
        probabilities: (examples, labels) float32, calibrated, in the order of the label space.
    """

    examples: Examples
    gold: tuple[str, ...]
    predicted: tuple[str, ...]
    probability: NDArray[np.float64]
    probabilities: NDArray[np.float32]

    type = "classification"

    @property
    def valid(self) -> NDArray[np.bool_]:
        """(examples,) whether a label was answered at all."""
        return np.array([label != NO_ANSWER for label in self.predicted], dtype=bool)

    @property
    def right(self) -> NDArray[np.bool_]:
        """(examples,) whether the label answered is the gold one; never where gold is outside the label space."""
        return np.array([gold == label for gold, label in zip(self.gold, self.predicted, strict=True)], dtype=bool)


@dataclass(frozen=True)
class SlotPredictions:
    """Answers to a slot-filling task.

    Attributes:
        examples: what was asked.
        gold: the right spans of each text.
        predicted: the spans answered.
        probabilities: one a span answered, calibrated.
        invalid: examples, by position, whose answer could not be read as spans of the text; no spans stand for it.
    """

    examples: Examples
    gold: tuple[tuple[Span, ...], ...]
    predicted: tuple[tuple[Span, ...], ...]
    probabilities: tuple[tuple[float, ...], ...]
    invalid: tuple[int, ...] = ()

    type = "slot_filling"

    @property
    def valid(self) -> NDArray[np.bool_]:
        """(examples,) whether spans, or none, were answered at all."""
        return ~np.isin(np.arange(len(self.examples)), self.invalid)

    @property
    def right(self) -> NDArray[np.bool_]:
        """(examples,) whether the spans answered are exactly the gold ones."""
        same = [set(g) == set(p) for g, p in zip(self.gold, self.predicted, strict=True)]
        return np.array(same, dtype=bool) & self.valid


Predictions = ClassificationPredictions | SlotPredictions


def collect_predictions(head: TaskHead, *, rows: Sequence[Row], answers: Sequence[Answer]) -> Predictions:
    """The answers to those rows of a test split that have a label for the task.

    Args:
        head: the task.
        rows: all rows of the test split.
        answers: the model's answer to each of `rows`.

    Raises:
        EvaluationError: no test row has a label for the task.
    """
    kept = [index for index, row in enumerate(rows) if head.name in row.labels]
    if not kept:
        raise EvaluationError(
            f"task '{head.name}': none of the {len(rows)} rows of the test split has a label for it, so nothing can be "
            "measured; label some test rows, or take the task out of the configuration"
        )
    ids, texts = tuple(rows[index].id for index in kept), tuple(rows[index].text for index in kept)
    examples = Examples(head.name, head.labels.labels, np.array(kept, dtype=np.int64), ids, texts)
    gold: list[Any] = [rows[index].labels[head.name] for index in kept]
    given = [answers[index] for index in kept]
    if head.type == "slot_filling":
        spans = [answer for answer in given if isinstance(answer, SlotsAnswer)]
        assert len(spans) == len(kept), f"the model answered slot filling '{head.name}' with something else"
        return SlotPredictions(
            examples,
            tuple(gold),
            tuple(answer.spans for answer in spans),
            tuple(tuple(map(float, answer.probabilities)) for answer in spans),
            tuple(index for index, answer in enumerate(spans) if not answer.valid),
        )
    classes = [answer for answer in given if isinstance(answer, ClassificationAnswer)]
    assert len(classes) == len(kept), f"the model answered classification '{head.name}' with something else"
    return ClassificationPredictions(
        examples,
        tuple(gold),
        tuple(answer.label for answer in classes),
        np.array([answer.probability for answer in classes], dtype=np.float64),
        np.array([answer.probabilities for answer in classes], dtype=np.float32),
    )


def digest_of_test_data(predictions: Predictions) -> str:
    """sha256 of what was asked and what is right: equal where two models were measured on the same test data."""
    examples = predictions.examples
    digest = hashlib.sha256()
    for row in zip(examples.rows.tolist(), examples.ids, examples.texts, predictions.gold, strict=True):
        digest.update(json.dumps(row).encode())
    return digest.hexdigest()


def write_predictions(predictions: Predictions, path: Path) -> None:
    """Write one task's predictions as Parquet."""
    examples = predictions.examples
    columns: dict[str, pa.Array] = {
        "row": pa.array(examples.rows, pa.int32()),
        "id": pa.array(examples.ids, pa.string()),
        "text": pa.array(examples.texts, pa.string()),
    }
    if isinstance(predictions, ClassificationPredictions):
        columns["gold"] = pa.array(predictions.gold, pa.string())
        columns["predicted"] = pa.array(predictions.predicted, pa.string())
        columns["probability"] = pa.array(predictions.probability, pa.float64())
        columns["probabilities"] = pa.array(list(predictions.probabilities), pa.list_(pa.float32()))
    else:
        columns["gold"] = pa.array([_spans_out(spans) for spans in predictions.gold], SPANS_TYPE)
        columns["predicted"] = pa.array([_spans_out(spans) for spans in predictions.predicted], SPANS_TYPE)
        columns["probabilities"] = pa.array(predictions.probabilities, pa.list_(pa.float64()))
    columns["valid"] = pa.array(predictions.valid, pa.bool_())
    about = {"format": 1, "task": examples.task, "type": predictions.type, "labels": examples.labels}
    table = pa.table(columns).replace_schema_metadata({METADATA: json.dumps(about).encode()})
    pq.write_table(table, path, compression="zstd")


def read_predictions(path: Path) -> Predictions:
    """The predictions that `write_predictions` wrote.

    Raises:
        EvaluationError: the file is of another kind or format.
    """
    table = pq.read_table(path)
    about = json.loads((table.schema.metadata or {}).get(METADATA, b"{}"))
    if about.get("format") != 1:
        raise EvaluationError(f"{path}: holds no predictions of format 1; evaluate the job again with this version")
    columns = {name: table[name].to_pylist() for name in table.column_names if name != "probabilities"}
    rows = np.array(columns["row"], dtype=np.int64)
    examples = Examples(about["task"], tuple(about["labels"]), rows, tuple(columns["id"]), tuple(columns["text"]))
    if about["type"] == "slot_filling":
        return SlotPredictions(
            examples,
            tuple(_spans_in(spans) for spans in columns["gold"]),
            tuple(_spans_in(spans) for spans in columns["predicted"]),
            tuple(tuple(row) for row in table["probabilities"].to_pylist()),
            tuple(index for index, valid in enumerate(columns.get("valid", ())) if not valid),
        )
    flat = table["probabilities"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return ClassificationPredictions(
        examples,
        tuple(columns["gold"]),
        tuple(columns["predicted"]),
        np.array(columns["probability"], dtype=np.float64),
        flat.astype(np.float32).reshape(len(examples), len(examples.labels)),
    )


def _spans_out(spans: Sequence[Span]) -> list[dict[str, object]]:
    return [span._asdict() for span in spans]


def _spans_in(spans: Sequence[dict[str, Any]]) -> tuple[Span, ...]:
    return tuple(Span(**span) for span in spans)
