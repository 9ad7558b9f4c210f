"""Shall a run learn from what has come since? A dataset's new version is taken up when enough of it is new, or drifted.

If not, the run goes on with the version that the served system was trained on: every job is found finished, and the
gate says that nothing is new. So the graph needs no branch, and a run that holds still costs next to nothing.
"""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Callable, Sequence

from pydantic import Field

from taskmix import storage
from taskmix.config.plan import make_plan
from taskmix.config.schema import Config, RetrainWhen, Section
from taskmix.data.dataset import Label, Row, load_dataset
from taskmix.data.drift import Shift, label_shifts, shifts
from taskmix.data.schema import SPLITS, Split
from taskmix.evaluation.report.model import REPORT_FILE, Report, read_report
from taskmix.modeling.answers import Answer, ClassificationAnswer
from taskmix.modeling.system import CHAMPION_FILE, load_system, read_system_record

log = logging.getLogger(__name__)

Ask = Callable[[Sequence[str]], list[dict[str, Answer]]]
HELD_OUT: tuple[Split, ...] = ("dev", "test")
"""What the served system has not learned from, so that its answers there are those it gives to texts it never saw."""
TRIGGERS = "triggers"
"""Folder of a run for its decisions, `<dataset>.json` each."""


class Decision(Section):
    """What was decided on one dataset, and why; the content of `triggers/<dataset>.json`."""

    dataset: str
    retrain: bool
    """The new version is taken up; false keeps the one that the served system was trained on."""
    reason: str
    """One sentence with the numbers."""
    uri: str
    """The version that the run learns from."""
    new_rows: int | None = None
    """Rows whose text and labels the served system was not trained or tested on; null where that was not counted."""
    shifts: dict[str, float] = Field(default_factory=dict)
    """Feature to its population stability index."""


def decide(config: Config, *, dataset: str, fresh: str, run: str, ask: Ask | None = None) -> Decision:
    """Which version of a dataset a run learns from; the decision is written below the run.

    Args:
        config: of the run, with `schedule.retrain_when`.
        dataset: its name.
        fresh: URI of the version just ingested.
        run: the run's id.
        ask: answers texts as the served system does; null loads that where it is asked.

    Raises:
        BundleError: the served system cannot be loaded.
        StorageError: storage cannot be reached.
    """
    decision = _decide(config, dataset=dataset, fresh=fresh, ask=ask)
    uri = storage.join(config.storage, "runs", run, TRIGGERS, f"{dataset}.json")
    storage.write_json(uri, decision.model_dump(mode="json"), replace=True)
    log.info("trigger dataset=%s retrain=%s", dataset, decision.retrain)
    return decision


def told_in_report(config: Config, *, run: str) -> tuple[str, ...]:
    """A sentence for each dataset that a run decided on; none where `schedule.retrain_when` is not set."""
    if config.schedule is None or config.schedule.retrain_when is None:
        return ()
    folder = storage.join(config.storage, "runs", run, TRIGGERS)
    uris = [storage.join(folder, f"{name}.json") for name in config.datasets]
    decisions = [Decision.model_validate(storage.read_json(uri)) for uri in uris if storage.exists(uri)]
    return tuple(
        f"Dataset {one.dataset}: the run learned from "
        f"{'the new version' if one.retrain else 'the version of the served system'}: {one.reason}."
        for one in decisions
    )


def _decide(config: Config, *, dataset: str, fresh: str, ask: Ask | None) -> Decision:
    def take_up(reason: str) -> Decision:
        return Decision(dataset=dataset, retrain=True, reason=reason, uri=fresh)

    when = config.schedule.retrain_when if config.schedule else None
    if when is None:
        return take_up("schedule.retrain_when is not set, so every new version is learned from")
    served = _report_of_champion(config)
    if served is None:
        return take_up("no system is served yet, or its run's report is gone, so there is nothing to hold on to")
    if _jobs(served.config) != _jobs(config):
        return take_up(f"the configuration's jobs are others than those of run {served.run}, which is served")
    known = next((row.uri for row in served.datasets if row.name == dataset), None)
    if known is None or not storage.is_complete(known):
        return take_up(f"the version that run {served.run} learned from is no longer on storage")
    if known == fresh:
        return Decision(dataset=dataset, retrain=False, reason="the source has not changed", uri=known, new_rows=0)
    return _weigh(config, when, dataset=dataset, known=known, fresh=fresh, ask=ask)


def _weigh(config: Config, when: RetrainWhen, *, dataset: str, known: str, fresh: str, ask: Ask | None) -> Decision:
    """Count the rows that have come since, and look whether they differ."""
    before, now = _rows(known), _rows(fresh)
    new = _new_rows(before, now)
    found: list[Shift] = []
    if new and when.drift_psi is not None:
        tasks = [name for name, task in config.tasks.items() if task.dataset == dataset]
        found = shifts(before, new, tasks=tasks)
        if when.drift_texts is not None:
            samples = [_sample(rows, when.drift_texts, config.seed) for rows in (_rows(known, HELD_OUT), new)]
            answered = [_answered(rows, ask or load_system(_champion(config)).predict, tasks) for rows in samples]
            found += label_shifts(*answered, tasks=tasks, what="answers")
    enough = when.min_new_rows is not None and len(new) >= when.min_new_rows
    drifted = [shift for shift in found if shift.drifted(when.drift_psi or 0.0)]
    return Decision(
        dataset=dataset,
        retrain=enough or bool(drifted),
        reason="; ".join([_told_rows(when, new=len(new), total=len(now)), *_told_drift(when, found, drifted)]),
        uri=fresh if enough or drifted else known,
        new_rows=len(new),
        shifts={shift.feature: round(shift.psi, 4) for shift in found},
    )


def _told_rows(when: RetrainWhen, *, new: int, total: int) -> str:
    told = f"{new} of {total} rows are new"
    return told if when.min_new_rows is None else f"{told}, {when.min_new_rows} are needed"


def _told_drift(when: RetrainWhen, found: Sequence[Shift], drifted: Sequence[Shift]) -> list[str]:
    if when.drift_psi is None or not found:
        return []
    if drifted:
        named = ", ".join(f"{shift.feature} (PSI {shift.psi:.3f})" for shift in drifted)
        return [f"drifted by more than {when.drift_psi:g}, and more than chance: {named}"]
    most = max(found, key=lambda shift: shift.psi)
    above = f", though chance alone can give {most.by_chance:.3f}" if most.psi > when.drift_psi else ""
    return [f"nothing drifted by more than {when.drift_psi:g}: most is {most.feature} (PSI {most.psi:.3f}{above})"]


def _rows(uri: str, splits: Sequence[Split] = SPLITS) -> list[Row]:
    with storage.local_copy(uri) as folder:
        dataset = load_dataset(folder)
        return [row for split in splits for row in dataset.rows(split)]


def _sample(rows: Sequence[Row], count: int, seed: int) -> list[Row]:
    return random.Random(seed).sample(rows, min(count, len(rows)))


def _answered(rows: Sequence[Row], ask: Ask, tasks: Sequence[str]) -> list[Row]:
    """The rows with the served system's answers in place of their labels."""
    answers = ask([row.text for row in rows])
    return [
        Row(row.id, row.text, {task: _label(given[task]) for task in tasks if task in given})
        for row, given in zip(rows, answers, strict=True)
    ]


def _label(answer: Answer) -> Label:
    return answer.label if isinstance(answer, ClassificationAnswer) else answer.spans


def _new_rows(before: Sequence[Row], now: Sequence[Row]) -> list[Row]:
    """Rows whose text and labels were not there before, whatever their id and split; of equal rows, each counts."""
    left = Counter(_content(row) for row in before)
    new = []
    for row in now:
        if left[_content(row)] > 0:
            left[_content(row)] -= 1
        else:
            new.append(row)
    return new


def _content(row: Row) -> tuple[str, tuple[tuple[str, object], ...]]:
    return row.text, tuple(sorted(row.labels.items()))


def _jobs(config: Config) -> list[str]:
    plan = make_plan(config)
    return sorted(plan.job_slice(job).model_dump_json() for job in plan.jobs)


def _champion(config: Config) -> str:
    return storage.join(config.storage, "deployments", config.deployment.name, CHAMPION_FILE)


def _report_of_champion(config: Config) -> Report | None:
    champion = _champion(config)
    if not storage.exists(champion):
        return None
    run = read_system_record(champion).run
    report = storage.join(config.storage, "runs", run or "", "report")
    if run is None or not storage.exists(storage.join(report, REPORT_FILE)):
        return None
    return read_report(report)
