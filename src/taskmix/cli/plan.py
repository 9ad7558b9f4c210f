"""`taskmix plan`: what a configuration comes to, as tables, and what of it is already done on storage."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from taskmix.cli.memory import memory_problems, memory_table, tuned_decoders
from taskmix.cli.options import ConfigArgument, SetOption, StorageOption, read_config
from taskmix.cli.tables import make_console, make_table
from taskmix.errors import ConfigError

if TYPE_CHECKING:
    from rich.table import Table

    from taskmix.cli.standing import Standing
    from taskmix.config.plan import Job, Plan
    from taskmix.config.schema import DatasetConfig, Hardware, ModelConfig
    from taskmix.data.dataset import Dataset

_STYLES = {"done": "green", "half": "yellow", "to do": "default", "unknown": "yellow"}


def plan(config: ConfigArgument, overrides: SetOption = None, storage: StorageOption = None) -> None:
    """Show the datasets, jobs, systems and hardware of a configuration, and what is already done on storage.

    Works without a network and without credentials too: what cannot be looked up is said to be unknown. A decoder whose
    training cannot fit its GPUs ends it with exit code 2, and with what would make it fit.
    """
    from taskmix.cli.standing import dataset_cards, dataset_standings, job_standings
    from taskmix.config.plan import make_plan

    made = make_plan(read_config(config, overrides=overrides, storage=storage))
    datasets = dataset_standings(made)
    cards = dataset_cards(datasets)
    jobs = job_standings(made, datasets=datasets, cards=cards)
    console = make_console()
    console.print(f"[bold]{made.config.name}[/bold], seed {made.config.seed}, storage {made.config.storage}")
    console.print(_dataset_table(made, datasets))
    console.print(_job_table(made, jobs))
    console.print(_system_table(made))
    if made.config.hardware:
        console.print(_hardware_table(made))
        console.print(_estimate_table(made))
    if tuned_decoders(made):
        console.print(memory_table(made))
    if any(_reads_prompts(model) for model in made.config.models.values()):
        for part in _prompt_lengths(made, cards):
            console.print(part)
    for line in _remarks(made, {**datasets, **{job.title: standing for job, standing in jobs.items()}}):
        console.print(line)
    if problems := memory_problems(made):
        raise ConfigError(str(config), problems)


def _reads_prompts(model: ModelConfig) -> bool:
    from taskmix.config.schema import ApiModel, DecoderModel

    return isinstance(model, ApiModel | DecoderModel)


def _prompt_lengths(plan: Plan, cards: Mapping[str, Dataset]) -> list[Table | str]:
    from taskmix.cli.prompt_lengths import asking_models, length_remarks, length_table

    return [length_table(plan, cards=cards), *length_remarks(plan, cards=cards)] if asking_models(plan) else []


def _state(standing: Standing, *, done: str) -> str:
    words = done if standing.state == "done" else "half trained" if standing.state == "half" else standing.state
    return f"[{_STYLES[standing.state]}]{words}[/]"


def _dataset_table(plan: Plan, standings: Mapping[str, Standing]) -> Table:
    table = make_table("Datasets", "name", "format", "source", "tasks", "on storage")
    for name, dataset in plan.config.datasets.items():
        tasks = ", ".join(plan.dataset_slice(name).tasks) or "none: not used"
        table.add_row(name, dataset.format, _source(dataset), tasks, _state(standings[name], done="ingested"))
    return table


def _source(dataset: DatasetConfig) -> str:
    from rich.markup import escape

    return escape(str(getattr(dataset, "uri", None) or getattr(dataset, "path", None) or "written by taskmix"))


def _job_table(plan: Plan, standings: Mapping[Job, Standing]) -> Table:
    table = make_table(
        f"Jobs ({len(plan.jobs)}, each trained once)", "model", "tasks", "made of", "hardware", "systems", "on storage"
    )
    for job in plan.jobs:
        model = plan.config.models[job.model]
        systems = ", ".join(system.name for system in plan.systems if job in system.trained)
        row = (job.model, _asked(job), _made_of(model), model.hardware or "any", systems)
        table.add_row(*row, _state(standings[job], done="trained"))
    return table


def _asked(job: Job) -> str:
    tasks = " + ".join(job.tasks)
    return f"{tasks}, seed {job.seed}" if job.of_several else tasks


def _made_of(model: ModelConfig) -> str:
    from taskmix.config.schema import ApiModel, LinearModel

    if isinstance(model, LinearModel):
        return "TF-IDF, linear SVM"
    if isinstance(model, ApiModel):
        return f"{model.model} at {urlsplit(model.base_url).netloc}, {model.shots} shots"
    if model.architecture is None:
        return re.sub(r"(@[0-9a-f]{12})[0-9a-f]{28}$", r"\1", str(model.checkpoint))  # a commit, as git shortens it
    return f"random weights, {model.architecture.layers} x {model.architecture.hidden}"


def _system_table(plan: Plan) -> Table:
    table = make_table("Systems (model / grouping)", "system", "jobs", "models to serve")
    for system in plan.systems:
        table.add_row(system.name, ", ".join(job.name for job in system.jobs), str(len(system.jobs)))
    return table


def _hardware_table(plan: Plan) -> Table:
    table = make_table(
        "Hardware (of the cluster; a local run takes what is there)", "name", "takes", "node", "USD/h", "jobs"
    )
    for name, hardware in plan.config.hardware.items():
        used = ", ".join(job.name for job in plan.jobs if plan.config.models[job.model].hardware == name)
        node = ", ".join(f"{key}={value}" for key, value in hardware.node_selector.items()) or "any"
        table.add_row(name, _takes(hardware), node, f"{hardware.usd_per_hour:g}", used or "none")
    return table


def _estimate_table(plan: Plan) -> Table:
    """GPU hours and USD by model; what cannot be told says why."""
    from taskmix.cli.estimates import SHARE_OF_PEAK, START_HOURS, Estimate, estimate_job

    title = (
        f"What it takes (all seeds; estimated from sizes, {SHARE_OF_PEAK:.0%} of the GPUs' rate, "
        f"{60 * START_HOURS:g} min a step to start)"
    )
    table = make_table(title, "model", "jobs", "hardware", "GPU hours", "USD", "remark")
    hours = usd = 0.0
    for name, model in plan.config.models.items():
        told = [estimate_job(plan, job) for job in plan.jobs if job.model == name]
        found = [each for each in told if isinstance(each, Estimate)]
        remarks = ", ".join(dict.fromkeys(each for each in told if isinstance(each, str)))
        spent = (sum(each.gpu_hours for each in found), sum(each.usd for each in found))
        cells = [f"{amount:,.1f}" if found else "" for amount in spent]
        table.add_row(name, str(len(told)), model.hardware or "any", *cells, remarks)
        hours, usd = hours + spent[0], usd + spent[1]
    table.add_section()
    table.add_row("all", str(len(plan.jobs)), "", f"{hours:,.1f}", f"{usd:,.1f}", "")
    return table


def _takes(hardware: Hardware) -> str:
    amounts = {"GPU": hardware.gpus, "CPU": hardware.cpus, "GiB": hardware.memory_gib}
    return ", ".join(f"{amount:g} {unit}" for unit, amount in amounts.items() if amount) or "what is free"


def _remarks(plan: Plan, standings: Mapping[str, Standing]) -> list[str]:
    """What the tables cannot say: how much sharing saves, and why something is unknown."""
    from rich.markup import escape

    asked = sum(len(system.trained) for system in plan.systems)
    lines = []
    if asked > len(plan.jobs):
        lines.append(f"{asked} models are asked for, {len(plan.jobs)} are trained: systems share the rest.")
    reasons: dict[str, str] = {}
    for name, standing in standings.items():
        if standing.reason:
            reasons.setdefault(standing.reason, name)
    lines += [f"[yellow]unknown[/]: {escape(name)}: {escape(reason)}" for reason, name in reasons.items()]
    return lines
