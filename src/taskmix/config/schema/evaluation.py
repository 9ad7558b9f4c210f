"""The sections `evaluation` and `gate`: how systems are measured, compared and judged."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from taskmix.config.schema.section import Name, Positive, Section, Share


class Measurement(Section):
    """How a job is measured: all of `evaluation` that decides its scorecard."""

    confidence: float = Field(0.95, gt=0.5, lt=1.0)
    resamples: int = Field(1000, ge=100)
    """Bootstrap resamples behind every interval."""
    ece_bins: Positive = 15
    latency_texts: Positive = 200
    """Test texts sent one by one to measure latency, after a warm-up."""


class Evaluation(Measurement):
    """How systems are measured and compared."""

    margins: dict[Literal["accuracy", "span_f1"], Annotated[float, Field(gt=0, le=0.5)]] = {}
    """Score to the loss that is small enough to be called none, e.g. 0.01 for a point; without it nothing can be shown
    to be as good as something else. To be set before the run."""
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = ()
    """Every job is trained once with each of these; none means once, with `seed`. Scores are then means over the seeds,
    and their intervals hold the seeds' spread too. What is deployed is trained with the first: see decisions/0030."""

    @field_validator("seeds")
    @classmethod
    def _once_each(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if twice := sorted({seed for seed in seeds if seeds.count(seed) > 1}):
            raise ValueError(f"holds {', '.join(map(str, twice))} more than once; keep one")
        return seeds


class PinnedExample(Section):
    """A text that must stay answered rightly."""

    EXAMPLE: ClassVar[str] = '{"text": "wake me at nine", "task": "intent", "label": "alarm_set"}'

    text: str = Field(min_length=1)
    task: Name
    label: str = Field(min_length=1)
    """The right answer, as a dataset's column holds it: a label; for slots the text with `[slot : words]`."""


class Gate(Section):
    """What the best system must show before it is deployed."""

    rank_by: str = "mean"
    """`mean` of the tasks' primary scores, or the name of one task."""
    minimum: dict[str, Share] = {}
    """Task to the least primary score (accuracy, slot F1) on test."""
    minimum_by: Literal["score", "interval"] = "score"
    """interval: the low end of the score's interval must reach the minimum, so few test texts cannot pass by luck."""
    must_not_lose_to: Literal["champion", "nothing"] = "champion"
    """champion: no task may be worse than the served system's by more than its margin (`evaluation.margins`), shown on
    the same test data; without margins the score ranked by may not be below the served system's."""
    maximum_label_drop: Share | None = None
    """Largest share of one label's (or slot's) right answers that may be lost to the champion; null does not look."""
    regression_set: str | tuple[PinnedExample, ...] = ()
    """Pinned examples that must all be answered rightly: a list of {text, task, label}, or the URI of a file with one
    such JSON object a line."""
    maximum_ece: Share | None = None
    """Largest expected calibration error of any task; null does not look."""
    maximum_p99_ms: Annotated[float, Field(gt=0)] | None = None
    """Largest 99th percentile of the time of one text, on the machine that evaluated; null does not look."""


class ReportSection(Section):
    """What the report shows."""

    texts: Literal["show", "redact"] = "show"
    """redact: no text of a user stands in report, model card or gate's evidence; ids and labels do. Datasets and
    evaluations on storage keep the texts. Logs hold none either way, but for pinned examples that the gate shows."""


class Reference(Section):
    """A published score to stand beside ours."""

    task: Name
    system: str
    """As its source calls it, e.g. `Llama3-70B, fine-tuned`."""
    score: Share
    metric: str | None = None
    """`accuracy`, `span_f1`, ...; null means the task's primary score."""
    source: str = Field(min_length=1)
    """Where it was published, e.g. `arXiv 2412.08587`."""
    note: str = ""
    """What differs from ours, e.g. another split of the data."""
