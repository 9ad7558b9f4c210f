"""Has a label collapsed? Each label's right answers of two systems, paired, so that a mean cannot hide the loss."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from scipy.stats import binom

from taskmix.evaluation.checks import Check
from taskmix.evaluation.comparisons import Contestant
from taskmix.evaluation.paired import holm
from taskmix.evaluation.predictions import ClassificationPredictions, Predictions
from taskmix.evaluation.report.figures import p_value, percent


@dataclass(frozen=True)
class LabelChange:
    """One label's (or slot's) occurrences in gold, and who answers them rightly.

    Attributes:
        name: `task/label`.
        gold: how often it is right to answer it.
        gained: occurrences that only the challenger answers rightly.
        lost: occurrences that only the champion answers rightly.
        known: occurrences that the champion answers rightly.
    """

    name: str
    gold: int
    gained: int
    lost: int
    known: int

    @property
    def drop(self) -> float:
        """Recall lost."""
        return (self.lost - self.gained) / self.gold

    @property
    def p_loss(self) -> float:
        """One-sided exact McNemar: the chance of so many lost of the discordant ones, were nothing lost."""
        return float(binom.sf(self.lost - 1, self.gained + self.lost, 0.5))

    @property
    def least_p(self) -> float:
        """The p of losing all that the champion knows: how much these few occurrences could show at most."""
        return float(0.5**self.known)


def check_labels(challenger: Contestant, champion: Contestant, *, most: float, alpha: float) -> Check:
    """`gate.maximum_label_drop`: no label may lose more recall than that, where the loss is more than chance.

    Args:
        challenger: the best system of the run.
        champion: the served one, on the same test data.
        most: largest drop of recall, a share.
        alpha: of the family of all labels (Holm).
    """
    changes = [
        change
        for task, evaluated in challenger.answers.items()
        for change in label_changes(evaluated.predictions[task], champion.answers[task].predictions[task])
    ]
    p_values = holm([change.p_loss for change in changes])
    lost = [
        f"{change.name} lost {percent(change.drop)} points of its recall "
        f"({change.lost} lost, {change.gained} gained of {change.gold}, p {p_value(p)})"
        for change, p in zip(changes, p_values, strict=True)
        if change.drop > most and p <= alpha
    ]
    blind = sum(change.least_p * len(changes) > alpha for change in changes)
    scope = (
        f"{len(changes)} labels and slots against the champion {champion.name}, allowed is a drop of {percent(most)}"
    )
    limits = f"; {blind} of them occur too seldom to show even a total loss" if blind else ""
    evidence = (
        f"{'; '.join(lost)}: {scope}{limits}"
        if lost
        else f"no label is shown to lose more recall than allowed: {scope} points{_largest(changes)}{limits}"
    )
    return Check(rule="labels", passed=not lost, evidence=evidence)


def label_changes(ours: Predictions, theirs: Predictions) -> list[LabelChange]:
    """Every label that occurs in gold, sorted by name."""
    gold, known, gained, lost = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    for label, we, they in _occurrences(ours, theirs):
        gold[label] += 1
        known[label] += they
        gained[label] += we and not they
        lost[label] += they and not we
    task = ours.examples.task
    return [
        LabelChange(f"{task}/{label}", gold[label], gained[label], lost[label], known[label]) for label in sorted(gold)
    ]


def _occurrences(ours: Predictions, theirs: Predictions) -> Iterator[tuple[str, bool, bool]]:
    """Each gold label or span's slot, whether we and whether they answer it rightly."""
    if isinstance(ours, ClassificationPredictions):
        yield from zip(ours.gold, ours.right.tolist(), theirs.right.tolist(), strict=True)
        return
    assert not isinstance(theirs, ClassificationPredictions)
    for spans, we, they in zip(ours.gold, ours.predicted, theirs.predicted, strict=True):
        yield from ((span.slot, span in we, span in they) for span in spans)


def _largest(changes: list[LabelChange]) -> str:
    if not changes:
        return ""
    worst = max(changes, key=lambda change: change.drop)
    return f"; the largest drop is {percent(worst.drop)} points of {worst.name}" if worst.drop > 0 else ""
