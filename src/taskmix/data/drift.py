"""Have new rows another distribution than those that a system was trained on? The population stability index.

PSI = sum over bins of (p - q) * ln(p / q), p and q the bins' shares in the new and the known rows. By convention below
0.1 is little and above 0.25 a large shift. Of few rows it is large by chance alone: where nothing has drifted it is
distributed as (1/n + 1/m) * chi-square with bins - 1 degrees of freedom (B. Yurdakul, Statistical Properties of
Population Stability Index, Western Michigan University, 2018), so a drift must lie above that as well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from taskmix.data.dataset import Row

BINS = 10
"""Of a number: the known rows' deciles, as is the custom."""
RARE = "(rare)"
LEAST_SHARE = 0.01
"""Labels rarer than this among the known rows are one bin: the index explodes on bins that are all but empty."""
FALSE_ALARMS = 0.001
"""How often a feature that has not drifted may seem so; small, since several are looked at in every run."""


@dataclass(frozen=True)
class Shift:
    """How far one feature of the rows has moved.

    Attributes:
        feature: for people, e.g. `intent labels`, `words a text`.
        psi: the population stability index.
        by_chance: what it stays below where nothing has drifted, but for one case in a thousand.
    """

    feature: str
    psi: float
    by_chance: float

    def drifted(self, threshold: float) -> bool:
        """Whether the index is above the threshold, and not by chance."""
        return self.psi > max(threshold, self.by_chance)


def shifts(known: Sequence[Row], new: Sequence[Row], *, tasks: Iterable[str]) -> list[Shift]:
    """How far new rows are from known ones: each task's labels, the texts' length, the share of words never seen.

    Args:
        known: what the system was trained on; not empty.
        new: what has come since; not empty.
        tasks: whose labels to look at; a task without labels on either side is passed over.
    """
    found = label_shifts(known, new, tasks=tasks, what="labels")
    for feature, measure in (("words a text", _words), ("characters a text", _characters)):
        found.append(_of_numbers(feature, [measure(row) for row in known], [measure(row) for row in new]))
    counts = Counter(word for row in known for word in set(_split(row)))
    # A known text's words are its own, so those of no other known text are compared with those of no known text.
    ours = [_share(_split(row), lambda word: counts[word] == 1) for row in known]
    theirs = [_share(_split(row), lambda word: counts[word] == 0) for row in new]
    found.append(_of_numbers("share of words of no other training text", ours, theirs))
    return found


def label_shifts(known: Sequence[Row], new: Sequence[Row], *, tasks: Iterable[str], what: str) -> list[Shift]:
    """How far the labels of rows have moved, task by task; one without labels on either side is passed over.

    Args:
        known: rows of before.
        new: rows of now.
        tasks: whose labels to look at.
        what: what the labels are, for people: `labels`, `answers`.
    """
    found = []
    for task in tasks:
        labels = [[name for row in rows for name in _labels(row, task)] for rows in (known, new)]
        if all(labels):
            found.append(_of_categories(f"{task} {what}", *labels))
    return found


def _labels(row: Row, task: str) -> list[str]:
    label = row.labels.get(task)
    if isinstance(label, tuple):
        return [span.slot for span in label] or ["(none)"]
    return [] if label is None else [label]


def _split(row: Row) -> list[str]:
    return row.text.lower().split()


def _words(row: Row) -> float:
    return len(_split(row))


def _characters(row: Row) -> float:
    return len(row.text)


def _share(words: Sequence[str], holds: Callable[[str], bool]) -> float:
    return sum(map(holds, words)) / len(words) if words else 0.0


def _of_categories(feature: str, known: Sequence[str], new: Sequence[str]) -> Shift:
    counts = Counter(known)
    kept = [name for name, count in counts.items() if count >= LEAST_SHARE * len(known)]
    bins = {name: place for place, name in enumerate([*kept, RARE])}
    places = [[bins.get(name, bins[RARE]) for name in names] for names in (known, new)]
    return _psi(feature, *(np.bincount(place, minlength=len(bins)) for place in places))


def _of_numbers(feature: str, known: Sequence[float], new: Sequence[float]) -> Shift:
    edges = np.unique(np.quantile(known, np.linspace(0, 1, BINS + 1)[1:-1]))
    places = [np.searchsorted(edges, values, side="left") for values in (known, new)]
    return _psi(feature, *(np.bincount(place, minlength=len(edges) + 1) for place in places))


def _psi(feature: str, known: NDArray[np.int64], new: NDArray[np.int64]) -> Shift:
    """The index of two counts over the same bins; half a row is added to each bin, so that none is empty."""
    used = (known + new) > 0
    bins = int(used.sum())
    p, q = ((counts[used] + 0.5) / (counts[used].sum() + bins / 2) for counts in (new, known))
    by_chance = (1 / new.sum() + 1 / known.sum()) * chi2.ppf(1 - FALSE_ALARMS, max(bins - 1, 1))
    return Shift(feature, float(((p - q) * np.log(p / q)).sum()), float(by_chance))
