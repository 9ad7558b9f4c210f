"""The smoke test of a release: a real server must answer recorded test texts as evaluation did.

Evaluation leaves every test example's text and answer as Parquet: `<evaluation>/predictions/<task>.parquet` with `id`,
`text`, `predicted`, and `probability` or, for slots, `probabilities`; an export leaves its own in the same form. A
sample of these is sent over HTTP to a server that serves the release; labels and spans must be the same, probabilities
nearly.
"""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import httpx
import pyarrow.parquet as pq

from taskmix import storage
from taskmix.data.schema import split_words
from taskmix.data.withholding import without_quotes
from taskmix.errors import ServingError
from taskmix.modeling.exports import read_export
from taskmix.modeling.system import BundleRecord, parse_system_record
from taskmix.serving.child import running_server
from taskmix.serving.predictor import Limits
from taskmix.serving.releases import read_release

log = logging.getLogger(__name__)

PROBABILITY_TOLERANCE = 1e-3
"""Batches differ between evaluation and serving, and so does the order in which floats are summed. Exports in less than
fp32 state their own."""
DIFFERENCES_TOLD = 5
SAID_CHARACTERS = 500
"""Of a server's message that refuses a recorded text; arbitrary."""
INSTANCES_AT_ONCE = 8
REQUEST_TIMEOUT_S = 120.0
CHILD_NAME = "smoke-test"
"""What the model is called in the URLs of the child that is served for the test."""


@dataclass(frozen=True)
class SmokeSummary:
    """What the smoke test compared, all of it equal.

    Attributes:
        system: its name.
        texts: sent.
        answers: compared; a text has one a task.
        too_long: sampled texts left out because the server's limits refuse them.
        ready_s: until the server was ready.
        seconds: of the whole test.
    """

    system: str
    texts: int
    answers: int
    too_long: int
    ready_s: float
    seconds: float


@dataclass(frozen=True)
class Recorded:
    """A test text and what evaluation has recorded for it.

    Attributes:
        id: of the test example.
        text: what was asked.
        answers: task to what the server must answer, in the response's own form (without `in_scope`).
    """

    id: str
    text: str
    answers: dict[str, Any]


def smoke_test(release: str, *, texts: int = 50, seed: int = 13, timeout_s: float = 120.0) -> SmokeSummary:
    """Serve a release in a child process, compare its answers with the evaluated ones, and stop it.

    Args:
        release: URI of the release.
        texts: how many test texts to send of each task, at most; tasks of one dataset share them.
        seed: of the sample.
        timeout_s: until the server must be ready.

    Raises:
        ServingError: the server did not start, did not answer, or answered otherwise; tells the first differences.
    """
    started = time.monotonic()
    with running_server(release, name=CHILD_NAME, timeout_s=timeout_s) as address:
        ready_s = time.monotonic() - started
        with httpx.Client(base_url=address, trust_env=False, timeout=REQUEST_TIMEOUT_S) as client:
            return compare_served(client, name=CHILD_NAME, release=release, texts=texts, seed=seed, ready_s=ready_s)


def compare_served(
    client: httpx.Client, *, name: str, release: str, texts: int = 50, seed: int = 13, ready_s: float = 0.0
) -> SmokeSummary:
    """Compare the answers of a server that runs with the evaluated ones.

    Args:
        client: for the server's address.
        name: of the model in its URLs.
        release: URI of the release that it serves.
        texts: how many test texts to send of each task, at most; tasks of one dataset share them.
        seed: of the sample.
        ready_s: what the server took to get ready, for the summary.

    Raises:
        ServingError: it did not answer, or answered otherwise; tells the first differences.
        httpx.HTTPError: it cannot be reached.
    """
    started = time.monotonic()
    record = parse_system_record(read_release(release)["record"], uri=release)
    sampled = sample_recorded(record.bundles, texts=texts, seed=seed)
    fitting = [example for example in sampled if len(example.text) <= Limits().max_characters]
    tolerance = probability_tolerance(record.bundles)
    differences = [line for part in _chunks(fitting) for line in _ask(client, name, part, tolerance=tolerance)]
    answers = sum(len(example.answers) for example in fitting)
    if differences:
        more = f"\n  ... and {len(differences) - DIFFERENCES_TOLD} more" if len(differences) > DIFFERENCES_TOLD else ""
        raise ServingError(
            f"{storage.redact(release)}: system '{record.name}' answers otherwise than it was evaluated, in "
            f"{len(differences)} of {answers} answers; it is not promoted\n  "
            + "\n  ".join(differences[:DIFFERENCES_TOLD])
            + more
        )
    summary = SmokeSummary(
        system=record.name,
        texts=len(fitting),
        answers=answers,
        too_long=len(sampled) - len(fitting),
        ready_s=round(ready_s, 1),
        seconds=round(ready_s + time.monotonic() - started, 1),
    )
    log.info("smoke tested system=%s texts=%d seconds=%.1f", summary.system, summary.texts, summary.seconds)
    return summary


def sample_recorded(bundles: Sequence[BundleRecord], *, texts: int, seed: int) -> list[Recorded]:
    """A seeded sample of the test examples that the bundles were evaluated on.

    Raises:
        ServingError: a bundle has no evaluation, or there is nothing to sample.
    """
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for bundle in bundles:
        if bundle.evaluation is None or bundle.tasks is None:
            raise ServingError(
                f"{storage.redact(bundle.uri)}: the system's record names no evaluation or no tasks of it, so there is "
                "nothing to compare with; run the pipeline again"
            )
        with storage.local_copy(bundle.export or bundle.evaluation) as folder:
            for task in bundle.tasks:
                rows = pq.read_table(folder / "predictions" / f"{task}.parquet").to_pylist()
                # Tasks of one dataset have the same rows, so the same seed draws the same texts for them.
                for row in random.Random(seed).sample(rows, min(texts, len(rows))):
                    found.setdefault((row["id"], row["text"]), {})[task] = _expected(row)
    if not found:
        raise ServingError("the evaluations hold no predictions to compare with; run the pipeline again")
    return [Recorded(row_id, text, answers) for (row_id, text), answers in found.items()]


def probability_tolerance(bundles: Sequence[BundleRecord]) -> float:
    """How far a served probability may lie from the recorded one."""
    tolerances = [PROBABILITY_TOLERANCE]
    for bundle in bundles:
        if bundle.export is not None:
            with storage.local_copy(bundle.export) as folder:
                tolerances.append(read_export(folder).probability_tolerance)
    return max(tolerances)


def _expected(row: dict[str, Any]) -> Any:
    if isinstance(row["predicted"], str):
        return {"label": row["predicted"], "probability": row["probability"]}
    words = split_words(row["text"])
    return [
        {
            "slot": span["slot"],
            "start": words[span["start"]].start,
            "end": words[span["end"] - 1].end,
            "probability": probability,
        }
        for span, probability in zip(row["predicted"], row["probabilities"], strict=True)
    ]


def _chunks(examples: Sequence[Recorded]) -> Iterator[list[Recorded]]:
    iterator = iter(examples)
    while chunk := list(islice(iterator, INSTANCES_AT_ONCE)):
        yield chunk


def _ask(client: httpx.Client, name: str, examples: Sequence[Recorded], *, tolerance: float) -> list[str]:
    """Send test texts; return a sentence on each answer that differs from the recorded one."""
    body = {"instances": [{"text": example.text, "tasks": list(example.answers)} for example in examples]}
    response = client.post(f"/v1/models/{name}:predict", json=body)
    if response.status_code != httpx.codes.OK:
        said = without_quotes(response.text[:SAID_CHARACTERS], texts=[example.text for example in examples])
        raise ServingError(f"{response.url}: answered {response.status_code} to recorded test texts: {said}")
    return [
        f"test example '{example.id}', task '{task}': {difference}"
        for example, prediction in zip(examples, response.json()["predictions"], strict=True)
        for task, expected in example.answers.items()
        if (difference := compare(expected, prediction[task], tolerance=tolerance))
    ]


def compare(expected: Any, served: Any, *, tolerance: float = PROBABILITY_TOLERANCE) -> str | None:
    """A sentence on how a served answer differs from the evaluated one; null if it does not.

    Texts are left out of it: it goes to logs.
    """
    if isinstance(expected, dict):
        expected, served = [expected], [served]
    keys = ("label",) if expected and "label" in expected[0] else ("slot", "start", "end")
    found, wanted = ([tuple(answer[key] for key in keys) for answer in answers] for answers in (served, expected))
    if found != wanted:
        return f"served {_tell(found)}, evaluated {_tell(wanted)}"
    for answer, reference in zip(served, expected, strict=True):
        ours, theirs = answer["probability"], reference["probability"]
        if ours is None and math.isnan(theirs):
            continue  # the model tells none
        if ours is None or not abs(ours - theirs) <= tolerance:
            return f"served probability {'unknown' if ours is None else f'{ours:.4f}'}, evaluated {theirs:.4f}"
    return None


def _tell(answers: Sequence[tuple[Any, ...]]) -> str:
    if not answers:
        return "nothing"
    return ", ".join(
        f"'{answer[0]}'" + (f" at {answer[1]}-{answer[2]}" if len(answer) == 3 else "") for answer in answers
    )
