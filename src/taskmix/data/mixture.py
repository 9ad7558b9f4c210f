"""The mixture: the rows of a job's datasets, interleaved, each with the labels that it has.

A row of a dataset that carries several of the job's tasks stays one row, so that one forward pass learns from all of
its labels. Rows of different datasets are mixed in one epoch by a temperature.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from taskmix.data.dataset import Row


@dataclass(frozen=True)
class Mixture:
    """Rows of one or more datasets, one after another.

    Attributes:
        rows: the rows of the first dataset, then those of the second, and so on.
        sizes: how many rows each dataset has, in that order.
    """

    rows: tuple[Row, ...]
    sizes: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.rows)


def make_mixture(datasets: Mapping[str, Sequence[Row]], *, tasks: Sequence[str]) -> Mixture:
    """The rows that carry a label of at least one of `tasks`, their other labels left out.

    Args:
        datasets: dataset name to its rows of one split, in the order of the job.
        tasks: the job's tasks.
    """
    kept = [
        [Row(row.id, row.text, {task: row.labels[task] for task in tasks if task in row.labels}) for row in rows]
        for rows in datasets.values()
    ]
    kept = [[row for row in rows if row.labels] for rows in kept]
    return Mixture(tuple(row for rows in kept for row in rows), tuple(len(rows) for rows in kept))


def epoch_counts(sizes: Sequence[int], *, temperature: float) -> list[int]:
    """Rows that each dataset gives to one epoch, as many in all as there are rows.

    Dataset i of n_i rows gets a share in proportion to n_i ** (1 / temperature): 1 takes every row once, higher
    temperatures draw small datasets more often and large ones less (Raffel et al. 2020, section 3.5.2).
    """
    weights = np.asarray(sizes, dtype=np.float64) ** (1.0 / temperature) * (np.asarray(sizes) > 0)
    exact = weights / weights.sum() * sum(sizes)
    counts = np.floor(exact).astype(int)
    for index in np.argsort(counts - exact, kind="stable")[: sum(sizes) - int(counts.sum())]:
        counts[index] += 1
    return [int(count) for count in counts]


def epoch_rows(sizes: Sequence[int], *, temperature: float, seed: int, epoch: int) -> NDArray[np.int64]:
    """Indices of the rows of one epoch, (sum of sizes,) int64, in random order; the same for the same seed and epoch.

    A dataset drawn more than once gives all its rows before it gives one twice.
    """
    generator = np.random.default_rng([seed, epoch])
    chosen = []
    offset = 0
    for size, count in zip(sizes, epoch_counts(sizes, temperature=temperature), strict=True):
        passes = [generator.permutation(size) for _ in range(-(-count // size))] if size else []
        chosen.append(offset + np.concatenate([np.empty(0, np.int64), *passes])[:count].astype(np.int64))
        offset += size
    return generator.permutation(np.concatenate(chosen))
