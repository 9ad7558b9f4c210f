"""All jobs' evaluations become systems, a leaderboard and a report, published under the run."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from taskmix import __version__, storage
from taskmix.config.plan import Job, Plan, System, make_plan, training_seeds
from taskmix.config.schema import Config
from taskmix.data.withholding import WITHHELD
from taskmix.errors import EvaluationError
from taskmix.evaluation.leaderboard import compare_systems, leaderboard, measure_systems, rank, training_price
from taskmix.evaluation.lineage import write_lineage
from taskmix.evaluation.omissions import left_out, remarks
from taskmix.evaluation.report import write_renderings
from taskmix.evaluation.report.model import REPORT_FILE, DatasetRow, JobRow, Report, TaskDetail
from taskmix.evaluation.scorecard import ErrorExample, Evaluated, TaskScorecard, read_evaluation
from taskmix.evaluation.trigger import told_in_report
from taskmix.evaluation.verdicts import merge_verdicts, weigh_cost

log = logging.getLogger(__name__)

MAX_DETAILS = 40
"""Tasks of jobs told in full, best systems first: keeps report.html well under 5 MB. The rest is in the scorecards."""


def benchmark(config: Config, *, run: str, evaluations: Sequence[str]) -> str:
    """Compare all systems of a configuration.

    Args:
        config: of the run.
        run: its id.
        evaluations: URIs, one for each job that the configuration asks for.

    Returns:
        URI of the report, `<storage>/runs/<run>/report`. The run's `config.json` and a record for each system in
        `systems/` are written beside it, before it; `lineage.json` after it. A report
        made of the same input is left as it is.

    Raises:
        EvaluationError: a job's evaluation is missing, given twice or of other settings, or two jobs were evaluated on
            different test data.
        AlreadyExists: the run has a report of other input.
    """
    folder = storage.join(config.storage, "runs", run)
    target = storage.join(folder, "report")
    inputs = storage.fingerprint({"config": config.model_dump(mode="json"), "evaluations": sorted(evaluations)})
    if storage.is_complete(target) and storage.read_manifest(target).about.get("inputs") == inputs:
        log.info("reused report=%s", target)
        write_lineage(target)
        return target
    plan = make_plan(config)
    evaluated = _by_job(plan, [read_evaluation(uri) for uri in evaluations])
    _check_same_data(evaluated)
    recorded = config.model_dump_json(indent=2) + "\n"  # in its own order: the order of tasks and groupings has meaning
    storage.write_bytes(storage.join(folder, "config.json"), recorded.encode(), replace=True)
    records = {system.name: _write_record(system, evaluated, run=run, folder=folder) for system in plan.systems}
    report = make_report(plan, evaluated, run=run, records=records)
    _publish(report, target, inputs=inputs)
    write_lineage(target)
    log.info("benchmarked systems=%d best=%s report=%s", len(report.systems), report.best.name, target)
    return target


def make_report(plan: Plan, evaluated: Mapping[str, Evaluated], *, run: str, records: Mapping[str, str]) -> Report:
    """The report on evaluated jobs.

    Args:
        plan: of the run.
        evaluated: job name to its evaluation.
        run: its id.
        records: system name to the URI of its record.
    """
    by = plan.config.gate.rank_by
    ranked = rank(measure_systems(plan, evaluated), by=by)
    systems = leaderboard(plan, ranked, records=records)
    rows = {row.name: row for row in systems}
    trained = {system.name: system.trained for system in plan.systems}
    users = {job.name: tuple(row.name for row in systems if job in trained[row.name]) for job in plan.jobs}
    deployed = list(dict.fromkeys(job for row in systems for job in row.jobs))
    details = [
        TaskDetail(job=job, systems=users[job], card=evaluated[job].scorecard.tasks[task])
        for job in deployed
        for task in evaluated[job].scorecard.tasks
    ]
    origins = _earlier_runs(plan.config, run=run)
    return Report(
        run=run,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        taskmix=__version__,
        config=plan.config,
        primary={task: card.primary for one in evaluated.values() for task, card in one.scorecard.tasks.items()},
        systems=systems,
        comparisons=compare_systems(ranked, by=by),
        verdicts=merge_verdicts(ranked, rows=rows, config=plan.config),
        economy=weigh_cost(ranked, rows=rows, config=plan.config),
        jobs=tuple(
            _job_row(plan, job, evaluated[job.name], systems=users[job.name], origins=origins)
            for job in sorted(plan.jobs, key=lambda job: (*deployed, job.name).index(job.name))
        ),
        details=tuple(_shown(detail, texts=plan.config.report.texts) for detail in details[:MAX_DETAILS]),
        details_left_out=tuple(f"{detail.job} / {detail.card.task}" for detail in details[MAX_DETAILS:]),
        datasets=_dataset_rows(evaluated.values()),
        remarks=(*told_in_report(plan.config, run=run), *remarks(evaluated)),
        left_out=left_out(plan, evaluated),
    )


def _shown(detail: TaskDetail, *, texts: Literal["show", "redact"]) -> TaskDetail:
    """A detail without users' texts where these are not to be shown: not in any file of the report."""
    if texts == "show":
        return detail
    bare = tuple(error.model_copy(update=_withheld(error, detail.card)) for error in detail.card.worst_errors)
    return detail.model_copy(update={"card": detail.card.model_copy(update={"worst_errors": bare})})


def _withheld(error: ErrorExample, card: TaskScorecard) -> dict[str, str]:
    """Spans quote the text, so they go with it; labels stay."""
    spans = {} if card.type == "classification" else dict.fromkeys(("gold", "predicted"), WITHHELD)
    return {"text": WITHHELD, **spans}


def _by_job(plan: Plan, evaluated: Sequence[Evaluated]) -> dict[str, Evaluated]:
    """The evaluation of each job of the plan, by the job's name."""
    expected = {(plan.job_slice(job).name, job.seed): job.name for job in plan.jobs}
    found: dict[str, Evaluated] = {}
    for one in evaluated:
        facts = one.scorecard.job
        seed = training_seeds(plan.config)[0] if facts.seed is None else facts.seed
        name = expected.get((facts.name, seed), f"{facts.name}@{seed}")
        if name in found:
            raise EvaluationError(
                f"job '{name}' is given by two evaluations, {found[name].uri} and {one.uri}; give one"
            )
        found[name] = one
        if one.scorecard.slice != plan.evaluation_slice():
            raise EvaluationError(
                f"{one.uri}: was measured with {one.scorecard.slice.model_dump(mode='json')}, the configuration says "
                f"{plan.evaluation_slice().model_dump(mode='json')}; evaluate job '{name}' again"
            )
    if missing := [name for name in expected.values() if name not in found]:
        raise EvaluationError(
            f"the configuration's systems need the jobs {list(expected.values())}, but there is no evaluation of "
            f"{missing}; evaluate these too"
        )
    return {name: found[name] for name in expected.values()}


def _check_same_data(evaluated: Mapping[str, Evaluated]) -> None:
    """Refuse to compare scores that were measured on different test data."""
    seen: dict[str, tuple[str, tuple[str, int]]] = {}
    for job, one in evaluated.items():
        for task, card in one.scorecard.tasks.items():
            data = (card.test_data, card.test_rows)
            other, known = seen.setdefault(task, (job, data))
            if data != known:
                raise EvaluationError(
                    f"task '{task}': jobs '{other}' and '{job}' were evaluated on different test data, so their scores "
                    "cannot be compared; evaluate both on the same version of the dataset"
                )


def _write_record(system: System, evaluated: Mapping[str, Evaluated], *, run: str, folder: str) -> str:
    """Write what the system is made of; serving loads it by this record."""
    record = {
        "name": system.name,
        "model": system.model,
        "grouping": system.grouping,
        "tasks": {task: evaluated[job.name].scorecard.job.bundle for job in system.jobs for task in job.tasks},
        "bundles": [_bundle_entry(job, evaluated[job.name]) for job in system.jobs],
        "repeats": [_bundle_entry(job, evaluated[job.name]) for jobs in system.repeats for job in jobs],
        "run": run,
    }
    uri = storage.join(folder, "systems", f"{system.model}.{system.grouping}.json")
    storage.write_json(uri, record, replace=True)
    return uri


def _bundle_entry(job: Job, one: Evaluated) -> dict[str, Any]:
    facts = one.scorecard.job
    return {
        "uri": facts.bundle,
        "tasks": list(job.tasks),
        "seed": job.seed,
        "evaluation": one.uri,
        "manifest": facts.manifest,
    }


def _earlier_runs(config: Config, *, run: str) -> dict[str, str]:
    """Hash of a bundle's manifest to the first other run (by id) that has it in one of its systems.

    Reads every system's record of this configuration's models in all runs on storage: small, but one read each.
    """
    runs = storage.join(config.storage, "runs")
    origins: dict[str, str] = {}
    for info in sorted(storage.list_objects(runs), key=lambda info: info.key):
        other, _, name = info.key.partition("/systems/")
        if name and other != run and name.split(".")[0] in config.models:
            record = storage.read_json(storage.join(runs, info.key))
            for bundle in (*record["bundles"], *record.get("repeats", ())):
                origins.setdefault(bundle["manifest"], other)
    return origins


def _job_row(
    plan: Plan, planned: Job, one: Evaluated, *, systems: tuple[str, ...], origins: Mapping[str, str]
) -> JobRow:
    job = one.scorecard.job
    return JobRow(
        name=planned.name,
        model=planned.model,
        seed=planned.seed,
        kind=job.kind,
        tasks=job.tasks,
        systems=systems,
        bundle=job.bundle,
        manifest=job.manifest,
        evaluation=one.uri,
        bytes=job.bytes,
        parameters=job.parameters,
        training_seconds=job.training_seconds,
        training_usd=training_price(plan, planned.model, seconds=job.training_seconds),
        epochs=job.epochs,
        history=job.history,
        precision=job.precision,
        reused_from=origins.get(job.manifest),
        versions=job.versions,
        machine=one.scorecard.machine,
    )


def _dataset_rows(evaluated: Iterable[Evaluated]) -> tuple[DatasetRow, ...]:
    uris = {facts.uri: facts.name for one in evaluated for facts in one.scorecard.datasets.values()}
    return tuple(
        DatasetRow(name=name, uri=uri, card=storage.read_json(storage.join(uri, "card.json")))
        for uri, name in sorted(uris.items(), key=lambda item: (item[1], item[0]))
    )


def _publish(report: Report, target: str, *, inputs: str) -> None:
    with tempfile.TemporaryDirectory(prefix="taskmix-report-") as name:
        folder = Path(name)
        data = (report.model_dump_json(indent=1) + "\n").encode()
        (folder / REPORT_FILE).write_bytes(data)
        write_renderings(data, source=target, folder=folder)
        storage.publish(folder, target, about={"run": report.run, "best": report.best.name, "inputs": inputs})
