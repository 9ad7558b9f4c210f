"""Two runs of one configuration, held side by side: what is the same bit for bit, and what differs by how much.

Times, sizes of logs and dates differ always and are left out. A bundle is compared by its files but for the card, which
holds the training's seconds; predictions are compared by their files, and answer by answer where these differ.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from taskmix import storage
from taskmix.evaluation.lineage import GATE_FILE
from taskmix.evaluation.predictions import Predictions
from taskmix.evaluation.report.figures import interval_text, percent
from taskmix.evaluation.report.model import JobRow, Report, read_report
from taskmix.evaluation.scorecard import PREDICTIONS_FOLDER, Score, read_evaluation
from taskmix.modeling.bundle import CARD_FILE

Outcome = Literal["identical", "within", "differs"]


@dataclass(frozen=True)
class Finding:
    """One thing of both runs.

    Attributes:
        what: it is.
        outcome: `identical` bit for bit; `within`: other bits, but no other claim; `differs`: another claim.
        told: what was found, for people.
    """

    what: str
    outcome: Outcome
    told: str


def compare_runs(original: str, again: str) -> list[Finding]:
    """What came out alike of a run and of its repetition.

    Args:
        original: URI of a run, `<storage>/runs/<run>`.
        again: URI of another run of the same configuration; its storage is another's.

    Raises:
        NotFound: one has no report.
    """
    first, second = (read_report(storage.join(run, "report")) for run in (original, again))
    return [
        *_data(first, second),
        *_jobs(first, second),
        *_scores(first, second),
        *_conclusions(first, second),
        _verdicts(original, again),
    ]


def _data(first: Report, second: Report) -> Iterator[Finding]:
    cards = {dataset.name: dataset.card for dataset in second.datasets}
    for dataset in first.datasets:
        ours, theirs = dataset.card["splits"], cards[dataset.name]["splits"]
        changed = [split for split in ours if ours[split]["sha256"] != theirs[split]["sha256"]]
        told = f"{', '.join(changed)} hold other rows" if changed else "the same rows"
        yield Finding(f"data {dataset.name}", "differs" if changed else "identical", told)


def _jobs(first: Report, second: Report) -> Iterator[Finding]:
    """Weights and answers. Other weights alone are no other claim: what counts is what they answer."""
    rows = {job.name: job for job in second.jobs}
    for job in first.jobs:
        again = rows[job.name]
        ours, theirs = _files(job.bundle), _files(again.bundle)
        changed = sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))
        told = f"other bytes in {', '.join(changed)}" if changed else f"the same {len(ours)} files"
        yield Finding(f"weights {job.name}", "within" if changed else "identical", told)
        yield from _answers(job, again)


def _answers(first: JobRow, second: JobRow) -> Iterator[Finding]:
    ours, theirs = _files(first.evaluation), _files(second.evaluation)
    apart = {task for task in first.tasks if ours[_file_of(task)] != theirs[_file_of(task)]}
    for task in (task for task in first.tasks if task not in apart):
        yield Finding(f"answers {first.name} / {task}", "identical", "the same file")
    if not apart:
        return
    before, after = read_evaluation(first.evaluation).predictions, read_evaluation(second.evaluation).predictions
    for task in (task for task in first.tasks if task in apart):
        told = _agreement(before[task], after[task])
        yield Finding(f"answers {first.name} / {task}", "within", told)


def _agreement(before: Predictions, after: Predictions) -> str:
    if (before.examples.ids, before.examples.texts) != (after.examples.ids, after.examples.texts):
        return "on other texts"
    same = sum(ours == theirs for ours, theirs in zip(before.predicted, after.predicted, strict=True))
    return f"{percent(same / len(before.examples))} % of {len(before.examples):,} texts get the same answer"


def _scores(first: Report, second: Report) -> Iterator[Finding]:
    rows = {row.name: row for row in second.systems}
    for row in first.systems:
        for task, primary in first.primary.items():
            ours, theirs = row.tasks[task][primary], rows[row.name].tasks[task][primary]
            yield Finding(f"{primary} {row.name} / {task}", *_score(ours, theirs))


def _score(ours: Score, theirs: Score) -> tuple[Outcome, str]:
    if ours.value == theirs.value:
        return "identical", f"{percent(ours.value)} both times"
    told = f"{percent(ours.value)}, again {percent(theirs.value)}"
    found = ours.interval
    inside = found is not None and theirs.value is not None and found.low <= theirs.value <= found.high
    beside = f"the interval of {interval_text(found)}" if found else "an interval that is not there"
    return ("within", f"{told}: inside {beside}") if inside else ("differs", f"{told}: outside of {beside}")


def _conclusions(first: Report, second: Report) -> Iterator[Finding]:
    """The winner and the merge verdicts."""
    yield _best(first, second)
    again = {verdict.merged: verdict.verdict for verdict in second.verdicts}
    for verdict in first.verdicts:
        yield _same(f"verdict on {verdict.merged}", verdict.verdict, again.get(verdict.merged, "none"))


def _best(first: Report, second: Report) -> Finding:
    """Equal scores are ranked by speed, which is measured anew: another winner among equals is no other claim."""
    ours, theirs = first.best.name, second.best.name
    scores = {row.name: row.ranked.value for row in second.systems}
    if ours != theirs and scores.get(ours) == scores[theirs]:
        return Finding("best system", "within", f"{ours}, again {theirs}: of equal score, ranked by speed")
    return _same("best system", ours, theirs)


def _verdicts(original: str, again: str) -> Finding:
    """Of the gate; the repetition's storage has no champion, which the original's may have had."""
    told = [_gate(run) for run in (original, again)]
    return _same("gate", *told)


def _gate(run: str) -> str:
    uri = storage.join(run, GATE_FILE)
    if not storage.exists(uri):
        return "not judged"
    verdict = storage.read_json(uri)
    word = "accepted" if verdict["accepted"] else "refused"
    return f"{word}{'' if verdict['champion'] is None else ' against a champion'}"


def _same(what: str, ours: str, theirs: str) -> Finding:
    if ours == theirs:
        return Finding(what, "identical", ours)
    return Finding(what, "differs", f"{ours}, again {theirs}")


def _files(uri: str) -> Mapping[str, str]:
    """Name to sha256 of a folder's files that a repetition can have alike."""
    return {entry.name: entry.sha256 for entry in storage.read_manifest(uri).files if entry.name != CARD_FILE}


def _file_of(task: str) -> str:
    return f"{PREDICTIONS_FOLDER}/{task}.parquet"
