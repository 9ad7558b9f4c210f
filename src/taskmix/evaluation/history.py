"""All runs of one storage in the order of their time: scores, data, drift, the gate's verdicts, who was deployed.

Read from the runs' reports and the deployments' records; nothing is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from scipy.stats import chi2_contingency

from taskmix import storage
from taskmix.errors import EvaluationError, NotFound
from taskmix.evaluation.lineage import GATE_FILE
from taskmix.evaluation.report.figures import p_value
from taskmix.evaluation.report.model import REPORT_FILE, Report, read_report
from taskmix.evaluation.scorecard import Score
from taskmix.modeling.rollbacks import Rollback, rollbacks_in
from taskmix.modeling.system import CHAMPION_FILE

REPORT_KEY = f"/report/{REPORT_FILE}"


@dataclass(frozen=True)
class DatasetVersion:
    """One dataset as a run used it.

    Attributes:
        name: of the dataset.
        version: of its source and slice.
        card: its data card.
        drift: what changed since the run before that used a dataset of this name, in sentences; empty where nothing.
    """

    name: str
    version: str
    card: Mapping[str, Any]
    drift: tuple[str, ...] = ()


@dataclass(frozen=True)
class RunLine:
    """One run.

    Attributes:
        run: its id.
        created: date and time of its report, UTC, ISO 8601.
        name: of its configuration.
        deployment: that it would deploy to.
        by: the score that systems are ranked by.
        best: its best system.
        ranked: the best system's score.
        tasks: the best system's primary score of each task.
        datasets: it used.
        gate: `accepted`, `refused`, another word of the gate's, or `not judged`.
        failed: the rules that refused it, with their evidence.
        deployed: it has a release, so the deployment was begun.
        serving: its release is what is served now.
        rolled_back: when and by whom its release was rolled back, where that stands; else empty.
    """

    run: str
    created: str
    name: str
    deployment: str
    by: str
    best: str
    ranked: Score
    tasks: Mapping[str, Score]
    datasets: tuple[DatasetVersion, ...]
    gate: str = "not judged"
    failed: tuple[str, ...] = ()
    deployed: bool = False
    serving: bool = False
    rolled_back: str = ""

    @property
    def standing(self) -> str:
        """How its release stands, in words; empty where there is none."""
        if self.serving:
            return "served now"
        return self.rolled_back or ("was released" if self.deployed else "")


@dataclass(frozen=True)
class Champion:
    """What is served under one deployment's name, and what was rolled back there."""

    deployment: str
    system: str
    run: str
    promoted: str
    rollbacks: tuple[Rollback, ...] = ()


@dataclass(frozen=True)
class History:
    """Of a storage.

    Attributes:
        storage: its URI.
        runs: oldest first.
        champions: of each deployment, now.
        unread: runs whose report this version does not read, with the reason.
    """

    storage: str
    runs: tuple[RunLine, ...]
    champions: tuple[Champion, ...]
    unread: tuple[str, ...] = field(default=())


def read_history(root: str) -> History:
    """The history of a storage.

    Args:
        root: the storage of the configurations.

    Raises:
        NotFound: no run with a report lies there.
    """
    runs = storage.join(root, "runs")
    found = [info.key.removesuffix(REPORT_KEY) for info in storage.list_objects(runs) if info.key.endswith(REPORT_KEY)]
    if not found:
        raise NotFound(
            f"{storage.redact(root)}: holds no run with a report; give the `storage` of a configuration that was run"
        )
    champions = tuple(_champions(root))
    lines, unread = [], []
    for run in found:
        try:
            lines.append(_line(root, read_report(storage.join(runs, run, "report")), champions))
        except EvaluationError as error:
            unread.append(f"{run}: {error}")
    return History(root, _with_drift(sorted(lines, key=lambda line: line.created)), champions, tuple(unread))


def drift(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[str, ...]:
    """What changed between two data cards of one dataset: rows, lengths, labels; in sentences."""
    return tuple([*_row_drift(before, after), *_label_drift(before, after)])


def label_distance(before: Mapping[str, int], after: Mapping[str, int]) -> float:
    """Total variation distance of two label distributions, in [0, 1]: the share of labels that would have to change."""
    sums = max(sum(before.values()), 1), max(sum(after.values()), 1)
    return sum(abs(before.get(k, 0) / sums[0] - after.get(k, 0) / sums[1]) for k in {*before, *after}) / 2


def chance_of_labels(before: Mapping[str, int], after: Mapping[str, int]) -> float:
    """The p of 'both are draws of one distribution': chi-squared; 1 where there is no choice."""
    names = sorted({*before, *after})
    if len(names) < 2 or not sum(before.values()) or not sum(after.values()):
        return 1.0
    return float(chi2_contingency([[counts.get(name, 0) for name in names] for counts in (before, after)]).pvalue)


def _line(root: str, report: Report, champions: Sequence[Champion]) -> RunLine:
    best, deployment = report.best, report.config.deployment.name
    release = storage.join(root, "deployments", deployment, "history", f"{report.run}.json")
    line = RunLine(
        run=report.run,
        created=report.created,
        name=report.config.name,
        deployment=deployment,
        by=report.config.gate.rank_by,
        best=best.name,
        ranked=best.ranked,
        tasks={task: best.tasks[task][primary] for task, primary in report.primary.items()},
        datasets=tuple(DatasetVersion(one.name, str(one.card["version"]), one.card) for one in report.datasets),
        deployed=storage.exists(release),
        serving=any((one.deployment, one.run) == (deployment, report.run) for one in champions),
        rolled_back=next((_told(one, report.run) for one in champions if one.deployment == deployment), ""),
    )
    try:
        verdict = storage.read_json(storage.join(root, "runs", report.run, GATE_FILE))
    except NotFound:
        return line
    failed = tuple(f"{check['rule']}: {check['evidence']}" for check in verdict["checks"] if not check["passed"])
    return replace(line, gate="accepted" if verdict["accepted"] else "refused", failed=failed)


def _champions(root: str) -> Iterator[Champion]:
    folder = storage.join(root, "deployments")
    for info in storage.list_objects(folder):
        name, _, file = info.key.partition("/")
        if file == CHAMPION_FILE:
            served = storage.read_json(storage.join(folder, info.key))
            rollbacks = rollbacks_in(served, uri=storage.redact(storage.join(folder, info.key)))
            promoted = str(served.get("promoted", ""))
            yield Champion(name, str(served["system"]), str(served["run"]), promoted, rollbacks)


def _told(champion: Champion, run: str) -> str:
    """When and by whom a run's release was rolled back; empty where it was not, or that stands no longer."""
    standing = (each.done for each in reversed(champion.rollbacks) if each.run == run and each.overruled is None)
    return next((f"rolled back {done.at} by {done.by}" for done in standing), "")


def _with_drift(lines: Sequence[RunLine]) -> tuple[RunLine, ...]:
    known: dict[str, DatasetVersion] = {}
    told = []
    for line in lines:
        datasets = []
        for found in line.datasets:
            before = known.get(found.name)
            changed = before is not None and before.version != found.version
            datasets.append(replace(found, drift=drift(before.card, found.card)) if changed and before else found)
            known[found.name] = found
        told.append(replace(line, datasets=tuple(datasets)))
    return tuple(told)


def _row_drift(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    for split, facts in after["splits"].items():
        earlier = before["splits"].get(split, {})
        if facts["sha256"] == earlier.get("sha256"):
            continue
        change = facts["rows"] - earlier.get("rows", 0)
        told = (
            f"{facts['rows']:,} rows ({change:+,})" if change else f"other content of the same {facts['rows']:,} rows"
        )
        words = [one["lengths"]["words"]["p50"] for one in (earlier, facts) if one.get("lengths")]
        if len(words) == 2 and words[0] != words[1]:
            told += f", median of {words[1]:g} words a text instead of {words[0]:g}"
        yield f"{split}: {told}"


def _label_drift(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    for task, facts in after["tasks"].items():
        earlier = before["tasks"].get(task)
        if earlier is None:
            yield f"{task}: a new task"
            continue
        if fresh := sorted(set(facts["labels"]) - set(earlier["labels"])):
            yield f"{task}: new labels {', '.join(fresh)}"
        if gone := sorted(set(earlier["labels"]) - set(facts["labels"])):
            yield f"{task}: labels gone {', '.join(gone)}"
        for split, counts in facts["counts"].items():
            known = earlier["counts"].get(split, {})
            if (distance := label_distance(known, counts)) > 0:
                chance = p_value(chance_of_labels(known, counts))
                yield f"{task}: {distance * 100:.1f} % of the labels in {split} are distributed otherwise (p {chance})"
