"""The gate's rule on pinned examples: texts that the user never wants to see answered wrongly again.

The best system's bundles are loaded and asked; nothing is looked up in stored predictions, since a pinned text need not
be one of the test split.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from taskmix import storage
from taskmix.config.schema import PinnedExample
from taskmix.data.labels import parse_brackets, read_spans
from taskmix.data.readers.lines import read_lines
from taskmix.data.records import BadRow
from taskmix.data.schema import Span
from taskmix.errors import DataError
from taskmix.evaluation.checks import Check
from taskmix.evaluation.evaluate import LoadModel
from taskmix.evaluation.report.model import JobRow, Report
from taskmix.evaluation.tables import tell_spans
from taskmix.modeling.answers import Answer, ClassificationAnswer, Model

RULE = "regression set"
MOST_TOLD = 20
"""Failures that one check's evidence tells; all are counted."""


@dataclass(frozen=True)
class Pinned:
    """One example that must be answered rightly.

    Attributes:
        where: it stands, for people.
        text: what is asked.
        task: the question.
        gold: the only right answer: a label, or the spans of words.
    """

    where: str
    text: str
    task: str
    gold: str | tuple[Span, ...]


def check_regression(report: Report, load: LoadModel) -> list[Check]:
    """`gate.regression_set`: each pinned example must be answered rightly by what would be deployed.

    Raises:
        DataError: an example cannot be right: names where and what.
        StorageError: the set or a bundle cannot be read.
    """
    pinned = read_pinned(report)
    if not pinned:
        return []
    told = []
    for job in (row for row in report.jobs if row.name in report.best.jobs):
        asked = [example for example in pinned if example.task in job.tasks]
        if asked:
            told += list(_failures(asked, job, load, redact=report.config.report.texts == "redact"))
    right = len(pinned) - len(told)
    evidence = f"{report.best.name} answers {right} of {len(pinned)} pinned examples rightly"
    if told:
        more = f"; and {len(told) - MOST_TOLD} more" if len(told) > MOST_TOLD else ""
        evidence = f"{evidence}; wrong: {'; '.join(told[:MOST_TOLD])}{more}"
    return [Check(rule=RULE, passed=not told, evidence=evidence)]


def read_pinned(report: Report) -> list[Pinned]:
    """The examples of the configuration, or of the JSON lines that it names.

    Raises:
        DataError: a line is no example, or its answer cannot be one of its task.
        NotFound: there is no such file.
    """
    named = report.config.gate.regression_set
    if not isinstance(named, str):
        return [_pin(example, f"gate.regression_set[{at}]", report) for at, example in enumerate(named)]
    found = []
    with storage.fetch_file(named) as path, path.open("rb") as lines:
        for line in read_lines(lines, name=storage.redact(named), split=None):
            if isinstance(line, BadRow):
                raise DataError(f"{line.where}: {line.why}")
            where, value = line
            try:
                found.append(_pin(PinnedExample.model_validate(value), where, report))
            except ValidationError as error:
                first = error.errors()[0]
                key = ".".join(map(str, first["loc"]))
                raise DataError(f"{where}: '{key}': {first['msg']}; a line is {PinnedExample.EXAMPLE}") from None
    return found


def _pin(example: PinnedExample, where: str, report: Report) -> Pinned:
    task = report.config.tasks.get(example.task)
    if task is None:
        raise DataError(f"{where}: task '{example.task}' is not one of {sorted(report.config.tasks)}; correct it")
    if task.type == "classification":
        return Pinned(where, example.text, example.task, example.label)
    try:
        plain, _ = parse_brackets(example.label)
        spans = read_spans(example.label, text=plain)
    except ValueError as error:
        raise DataError(f"{where}: {error}") from None
    if plain != example.text:
        raise DataError(f"{where}: the label without its brackets is not the text; make both the same, spaces too")
    return Pinned(where, example.text, example.task, spans or ())


def _failures(pinned: Sequence[Pinned], job: JobRow, load: LoadModel, *, redact: bool) -> Iterator[str]:
    """One sentence for each example that the job answers wrongly."""
    with storage.local_copy(job.bundle) as folder:
        model = load(folder)
        _check_labels(pinned, model)
        tasks = list(dict.fromkeys(example.task for example in pinned))
        answers = model.predict([example.text for example in pinned], tasks=tasks)
    for example, answered in zip(pinned, answers, strict=True):
        given = answered[example.task]
        if not _right(example, given):
            text = "" if redact else f' "{example.text}"'
            found, wanted = _tell(given, example, redact=redact)
            yield f"{example.where}{text}: {example.task} is answered {found}, must be {wanted}"


def _check_labels(pinned: Sequence[Pinned], model: Model) -> None:
    for example in pinned:
        space = set(model.heads[example.task].labels.labels)
        wanted = {example.gold} if isinstance(example.gold, str) else {span.slot for span in example.gold}
        if unknown := sorted(wanted - space):
            raise DataError(
                f"{example.where}: {', '.join(unknown)} is no label of task '{example.task}' that the model knows; "
                "correct the example, or give training texts of that label"
            )


def _right(example: Pinned, answer: Answer) -> bool:
    if isinstance(answer, ClassificationAnswer):
        return answer.label == example.gold
    return set(answer.spans) == set(example.gold)


def _tell(answer: Answer, example: Pinned, *, redact: bool) -> tuple[str, str]:
    """What was answered and what had to be; of spans the slots only, where texts are not to be shown."""
    if isinstance(answer, ClassificationAnswer):
        return f"{answer.label} ({answer.probability:.2f})", str(example.gold)
    assert not isinstance(example.gold, str)
    if redact:
        return ", ".join(span.slot for span in answer.spans) or "(no span)", ", ".join(s.slot for s in example.gold)
    return tell_spans(answer.spans, example.text), tell_spans(example.gold, example.text)
