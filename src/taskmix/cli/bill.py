"""`taskmix run --dry-run`: the bill of the API models, as a table, before anything is asked or written."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING

from taskmix import storage
from taskmix.cli.tables import make_console, make_table
from taskmix.config.plan import Job, Plan
from taskmix.config.schema import ApiModel

if TYPE_CHECKING:
    from taskmix.data.dataset import Dataset
    from taskmix.modeling.api.bill import Bill

ANSWERS_MEASURED = 500
"""Right answers of train whose mean length stands for the length of answers; arbitrary."""


def print_bill(plan: Plan) -> None:
    """Print what the API models of a plan will cost; datasets that are not on storage are read into a scratch folder.

    Raises:
        TaskmixError: a dataset cannot be had or read, or a prompt leaves no room for its text.
    """
    from rich.markup import escape

    from taskmix.modeling.api.bill import Bill

    console = make_console()
    asked = [job for job in plan.jobs if isinstance(plan.config.models[job.model], ApiModel)]
    others = len(plan.jobs) - len(asked)
    if not asked:
        console.print(f"nothing is asked of an API: {others} jobs run on own hardware; see taskmix plan")
        return
    with ExitStack() as stack:
        datasets = _datasets(plan, asked, stack)
        bills = {job: _job_bill(plan, job, datasets) for job in asked}
    table = make_table(
        "The bill of the API models", "job", "requests", "paid", "tokens in", "tokens out", "USD", "at most", "limit"
    )
    for job, bill in bills.items():
        model = plan.config.models[job.model]
        assert isinstance(model, ApiModel)
        limit = "none" if model.spending_limit_usd is None else f"{model.spending_limit_usd:,.2f}"
        table.add_row(escape(job.title), *_cells(bill), limit)
    total = sum(bills.values(), start=Bill())
    table.add_section()
    table.add_row("all", *_cells(total), "")
    console.print(table)
    for line in _remarks(plan, asked, others=others):
        console.print(line)


def _cells(bill: Bill) -> tuple[str, ...]:
    counts = (bill.requests, bill.paid, bill.input_tokens, bill.output_tokens)
    return (*(f"{count:,.0f}" for count in counts), f"{bill.usd:,.2f}", f"{bill.most_usd:,.2f}")


def _remarks(plan: Plan, asked: list[Job], *, others: int) -> list[str]:
    models = {job.model: plan.config.models[job.model] for job in asked}
    dates = {model.prices_as_of for model in models.values() if isinstance(model, ApiModel)}
    told = ", ".join(sorted(str(date) if date else "no day that is told" for date in dates))
    lines = [
        f"Prices are the configuration's, as of {told}.",
        "Tokens are estimated: four characters a token, and answers as long as right ones.",
        "'At most' needs no estimate: a token is at least a byte, and answers are bounded.",
        "Nothing was asked. Evaluation asks every test text of a job once; what is paid for is never asked again.",
    ]
    return lines + ([f"{others} further jobs run on own hardware: see taskmix plan."] if others else [])


def _datasets(plan: Plan, jobs: list[Job], stack: ExitStack) -> dict[str, Dataset]:
    """The datasets of `jobs` by name: from storage where they are, else read now and forgotten after."""
    from taskmix.data.dataset import load_dataset
    from taskmix.data.ingest import ingest, source_version

    scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="taskmix-bill-"))
    datasets = {}
    for name in dict.fromkeys(name for job in jobs for name in plan.job_slice(job).datasets):
        slice = plan.dataset_slice(name)
        version = source_version(slice)
        uri = storage.join(plan.config.storage, "datasets", name, version)
        if not storage.is_complete(uri):
            uri = ingest(slice, storage=scratch, version=version)
        datasets[name] = load_dataset(stack.enter_context(storage.local_copy(uri)))
    return datasets


def _job_bill(plan: Plan, job: Job, datasets: Mapping[str, Dataset]) -> Bill:
    from taskmix.modeling.api.bill import Bill, estimate_bill
    from taskmix.modeling.api.paid import PaidAnswers
    from taskmix.modeling.shots import draw_shots
    from taskmix.training.api import draw_prompts
    from taskmix.training.job import job_heads, job_mixture

    slice = plan.job_slice(job)
    settings = slice.model
    assert isinstance(settings, ApiModel)
    heads = job_heads(slice, datasets=datasets)
    train = job_mixture(slice, datasets=datasets, split="train").rows
    paid = PaidAnswers(storage.join(plan.config.storage, "jobs", slice.name, "answers", str(slice.seed)), keeps=False)
    bill = Bill()
    for prompt in draw_prompts(slice, train=train, heads=heads).prompts:
        dataset = datasets[slice.tasks[prompt.tasks[0]].dataset]
        answered = draw_shots(train, prompt=prompt, count=ANSWERS_MEASURED, seed=slice.seed)
        texts = [row.text for row in dataset.rows("test")]
        bill += estimate_bill(prompt, texts=texts, answered=answered, settings=settings, heads=heads, paid=paid)
    return bill
