"""From a `Report` to HTML and Markdown: what is shown and in which order. The same report gives the same bytes.

The HTML is one file: no font, image or script from elsewhere, since Kubeflow shows it in a sandboxed frame. Its one
script sorts tables; where scripts are off the page lacks nothing else.
"""

from __future__ import annotations

import json
import re
from functools import cache
from statistics import stdev
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from taskmix.config.schema import ApiModel
from taskmix.evaluation.report import figures
from taskmix.evaluation.report.charts import interval_panels, model_colours, words
from taskmix.evaluation.report.curves import learning_curves
from taskmix.evaluation.report.heatmap import heatmap
from taskmix.evaluation.report.model import Report, SystemRow
from taskmix.evaluation.report.reliability import reliability_diagram
from taskmix.evaluation.report.scatter import AXES, Cost, quality_against
from taskmix.evaluation.scorecard import Confusion, TaskScorecard

MAX_LABEL_ROWS = 100
"""Labels of a per-label table that are shown, the weakest."""
MAX_ERRORS = 10
CHECK_NAMES = {
    "rows_read": "rows read",
    "quarantined_rows": "rows set aside as unusable",
    "empty_texts": "empty texts",
    "duplicate_texts": "duplicates within a split",
    "shared_texts": "texts shared between splits",
    "unlabelled_rows": "rows without any label",
    "quarantined_labels": "labels set aside as unusable",
}


def render_html(report: Report) -> str:
    """The report as one HTML page."""
    return environment(autoescape=True).get_template("report.html.j2").render(_content(report))


def render_markdown(report: Report) -> str:
    """The report as Markdown, for Kubeflow's interface and for terminals."""
    text = environment(autoescape=False).get_template("report.md.j2").render(_content(report))
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def shades(confusion: Confusion) -> list[list[tuple[int, float]]]:
    """Each cell's count and its share of its row; empty where there are too many labels for a grid."""
    return [[(count, round(count / max(sum(row), 1), 2)) for count in row] for row in confusion.matrix or ()]


def weakest_first(card: TaskScorecard) -> list[Any]:
    """The labels that occur in gold or answers, least F1 first."""
    return sorted((row for row in card.per_label if row.f1 is not None), key=lambda row: (row.f1, row.label))


def seed_spread(row: SystemRow) -> float | None:
    """Standard deviation of the ranked score over the training seeds; null where a score is undefined."""
    values = [seed.ranked.value for seed in row.seeds if seed.ranked.value is not None]
    return stdev(values) if len(values) == len(row.seeds) else None


def seed_ends(row: SystemRow, task: str, name: str) -> tuple[float | None, float | None]:
    """The lowest and the highest of one score over the training seeds."""
    values = [seed.tasks[task][name].value for seed in row.seeds]
    defined = [value for value in values if value is not None]
    return (min(defined), max(defined)) if defined else (None, None)


def check_rows(card: dict[str, Any]) -> list[tuple[str, str]]:
    """The data card's checks as lines: what was counted, and the counts."""
    found = [(CHECK_NAMES.get(name, words(name)), _tell(value)) for name, value in card.get("checks", {}).items()]
    for task, facts in card.get("tasks", {}).items():
        for name, title in (
            ("unlabelled", "rows without a label"),
            ("conflicting_texts", "texts with several labels in train"),
            ("shared_conflicts", "rows whose text train labels otherwise"),
            ("unknown_labels", "labels not in train"),
            ("majority_share", "share of the most frequent label"),
            ("label_shift", "distance of label shares, train to test"),
        ):
            if name in facts:
                found.append((f"{task}: {title}", _tell(facts[name])))
    return found


def _content(report: Report) -> dict[str, Any]:
    best = report.best
    return {
        "report": report,
        "best": best,
        "by": by(report),
        "colours": model_colours(report),
        "panels": interval_panels(report),
        "scatters": _scatters(report),
        "frontier": report.economy.frontier if report.economy else (),
        "frames": list(dict.fromkeys(name for row in report.systems for name in row.frames)),
        "priced": any(row.usd_per_million_texts is not None for row in report.systems),
        "to_best": [found for found in report.comparisons if found.against == best.name and found.score == by(report)],
        "by_task": [found for found in report.comparisons if _is_between_groupings(found, report)],
        "config_text": json.dumps(report.config.model_dump(mode="json"), indent=2, ensure_ascii=False),
        "method": method(report),
        "commands": commands(report),
        "prices": prices(report),
        "curves": learning_curves(report),
    }


def method(report: Report) -> tuple[str, ...]:
    """How the numbers are made, in sentences."""
    template = environment(autoescape=False).get_template("method.j2")
    text = template.render(evaluation=report.config.evaluation, seed=report.config.seed)
    return tuple(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


def prices(report: Report) -> tuple[str, ...]:
    """What each model's cost is made of, by the configuration; API prices with their day."""
    told = []
    for name, model in report.config.models.items():
        hardware = report.config.hardware.get(model.hardware) if model.hardware else None
        parts = (
            [f"${hardware.usd_per_hour:g} an hour of {model.hardware}"] if hardware and hardware.usd_per_hour else []
        )
        if isinstance(model, ApiModel):
            tokens = model.usd_per_million_tokens
            day = f"as of {model.prices_as_of.isoformat()}" if model.prices_as_of else "of no known day"
            parts.append(f"${tokens.input:g} and ${tokens.output:g} a million tokens of prompt and answer, {day}")
        if parts:
            told.append(f"{name}: {'; '.join(parts)}")
    return tuple(told)


def commands(report: Report) -> tuple[tuple[str, str], ...]:
    """What to type to check the run, to make it or its report again, and to look at others; each with its meaning."""
    run = f"{report.run} --storage {report.config.storage}"
    return (
        (f"taskmix verify {run}", "hash all of it again"),
        (f"taskmix reproduce {run}", "run it again from nothing, and compare"),
        (f"taskmix report {run}", "make this page again"),
    )


def by(report: Report) -> str:
    """What the leaderboard is ordered by: `mean` or a task."""
    return report.config.gate.rank_by


def _scatters(report: Report) -> list[Any]:
    """Quality against latency, and against the price where there is one; the cost that is weighed first."""
    weighed = report.economy.cost if report.economy else "p50_ms"
    order: list[Cost] = sorted(AXES, key=lambda cost: cost != weighed)
    return [found for cost in order if (found := quality_against(report, cost))]


def _is_between_groupings(comparison: Any, report: Report) -> bool:
    """Groupings of one model on one task, where no verdict tells it already."""
    told = {frozenset((verdict.merged, verdict.apart)) for verdict in report.verdicts}
    pair = comparison.system, comparison.against
    same_model = pair[0].partition("/")[0] == pair[1].partition("/")[0]
    return bool(comparison.score in report.primary and same_model and frozenset(pair) not in told)


@cache
def environment(*, autoescape: bool) -> Environment:
    """Jinja's environment with the report's templates and the figures' words as filters."""
    environment = Environment(
        loader=PackageLoader("taskmix.evaluation.report"),
        autoescape=autoescape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    named = (
        figures.percent,
        figures.points,
        figures.points_apart,
        figures.p_value,
        figures.interval_text,
        figures.interval_points,
        figures.score_text,
        figures.milliseconds,
        figures.seconds,
        figures.rate,
        figures.size,
        figures.count,
        figures.usd,
        figures.moment,
        words,
        shades,
        weakest_first,
        check_rows,
        reliability_diagram,
        heatmap,
        seed_spread,
        seed_ends,
        cell,
    )
    environment.filters.update({function.__name__: function for function in named})
    environment.globals["max_errors"] = MAX_ERRORS
    environment.globals["max_label_rows"] = MAX_LABEL_ROWS
    return environment


def cell(text: object) -> str:
    """A text made safe for one cell of a Markdown table."""
    escaped = re.sub(r"([\\`*_{}\[\]<>|~$])", r"\\\1", str(text))
    return " ".join(escaped.split())


def _tell(value: Any) -> str:
    """A count, or counts by name, in one line."""
    if isinstance(value, dict):
        told = [
            f"{name} ({_tell(found)})" if isinstance(found, dict) else f"{name} {_tell(found)}"
            for name, found in value.items()
            if found != {}
        ]
        return ", ".join(told) or "none"
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
