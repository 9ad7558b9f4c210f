"""What KFP's user interface shows of a step: small descriptions of what lies on storage, never the thing itself.

Every function fills artifacts that KFP's executor made: a JSON body at `path`, and `metadata`. Knows nothing of kfp's
packages beyond these two, so that a step starts quickly.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from taskmix import storage

MAX_CONFUSION_LABELS = 30
"""KFP's table of a confusion matrix is unreadable beyond this; the report shows every label."""


class Artifact(Protocol):
    """The part of `kfp.dsl.Artifact` that is used here."""

    path: str
    metadata: dict[str, Any]


class ConfusionArtifact(Artifact, Protocol):
    """The part of `kfp.dsl.ClassificationMetrics` that is used here."""

    def log_confusion_matrix(self, categories: list[str], matrix: list[list[int]]) -> None:
        """Store the matrix: rows are the gold labels."""
        ...


def describe_folder(artifact: Artifact, uri: str) -> None:
    """Describe a published folder by its manifest: URI, size, hash, and what its publisher said of it.

    Raises:
        NotFound: there is no such folder.
        Incomplete: it has no manifest.
    """
    manifest = storage.read_manifest(uri)
    size = {"files": len(manifest.files), "bytes": manifest.bytes, "manifest_sha256": manifest.sha256}
    _fill(artifact, {"uri": uri, **size, **manifest.about})


def describe_bundle(artifact: Artifact, job: str) -> None:
    """Describe the bundle of the job at the URI `job`."""
    describe_folder(artifact, storage.join(job, "bundle"))


def describe_scores(metrics: Artifact, confusion: ConfusionArtifact, evaluation: str) -> None:
    """Give the scores and speed of an evaluation, and the confusion matrix of its first task with few enough labels."""
    from taskmix.evaluation.scorecard import read_scorecard

    scorecard = read_scorecard(evaluation)
    numbers: dict[str, float | None] = {}
    for name, task in scorecard.tasks.items():
        numbers |= {f"{name}.{key}": score.value for key, score in task.scores.items()}
    for dataset, speed in scorecard.speed.items():
        numbers |= {f"{dataset}.p50_ms": speed.p50_ms, f"{dataset}.texts_per_s": speed.texts_per_s}
    _fill(metrics, finite(numbers))
    _fill(confusion, {"uri": evaluation})
    small = (task for task in scorecard.tasks.values() if task.type == "classification")
    shown = next((task for task in small if len(task.confusion.labels) <= MAX_CONFUSION_LABELS), None)
    if shown is not None:
        confusion.log_confusion_matrix(list(shown.confusion.labels), [list(row) for row in shown.confusion.matrix])


def copy_report(html: Artifact, markdown: Artifact, report: str) -> None:
    """Copy a report's two renderings, which need no other file, into the artifacts."""
    for artifact, name in ((html, "report.html"), (markdown, "report.md")):
        Path(artifact.path).write_bytes(storage.read_bytes(storage.join(report, name)))
        artifact.metadata["uri"] = storage.join(report, name)


def finite(numbers: Mapping[str, float | None]) -> dict[str, float]:
    """The numbers that are there and finite; KFP fails on any other metric."""
    return {name: value for name, value in numbers.items() if value is not None and math.isfinite(value)}


def _fill(artifact: Artifact, metadata: Mapping[str, Any]) -> None:
    artifact.metadata.update(metadata)
    Path(artifact.path).write_text(json.dumps(metadata, indent=2, sort_keys=True) + "\n")
