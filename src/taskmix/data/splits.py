"""Cutting a dev split and drawing a sample: seeded, and independent of the rows' order.

A row's rank is a hash of the seed and its id, so that a row added to the source moves few others.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence

from taskmix.data.dataset import Row


def cut_dev(
    train: Sequence[Row], *, fraction: float, stratify_by: str | None, seed: int
) -> tuple[list[Row], list[Row]]:
    """Part train into train and dev; both keep the order of `train`.

    Args:
        train: all rows to part.
        fraction: of the rows that become dev; at least one row stays on either side.
        stratify_by: a classification task whose labels get the same share each, as near as whole rows allow; the last
            row of a label stays in train. Null cuts at random.
        seed: another seed, another cut.
    """
    strata: dict[object, list[Row]] = defaultdict(list)
    for row in train:
        strata[row.labels.get(stratify_by) if stratify_by else None].append(row)
    ordered = dict(sorted(strata.items(), key=lambda item: str(item[0])))
    sizes = {label: len(rows) for label, rows in ordered.items()}
    dev_ids: set[str] = set()
    for label, count in _shares(sizes, total=max(1, round(fraction * len(train)))).items():
        ranked = sorted(ordered[label], key=lambda row: _rank(row.id, seed=seed, purpose="dev"))
        dev_ids.update(row.id for row in ranked[:count])
    return [row for row in train if row.id not in dev_ids], [row for row in train if row.id in dev_ids]


def draw_sample(rows: Sequence[Row], *, size: int, seed: int) -> list[Row]:
    """At most `size` rows, drawn without replacement, in their order; a smaller sample is part of a larger one."""
    if len(rows) <= size:
        return list(rows)
    chosen = {row.id for row in sorted(rows, key=lambda row: _rank(row.id, seed=seed, purpose="sample"))[:size]}
    return [row for row in rows if row.id in chosen]


def _shares(sizes: Mapping[object, int], *, total: int) -> dict[object, int]:
    """Largest remainders: whole rows a stratum, in proportion to its size, `total` in all if no stratum is emptied."""
    rows = sum(sizes.values())
    exact = {label: total * size / rows for label, size in sizes.items()}
    counts = {label: min(int(exact[label]), size - 1) for label, size in sizes.items()}
    by_remainder = sorted(sizes, key=lambda label: int(exact[label]) - exact[label])
    for label in by_remainder[: total - sum(counts.values())]:
        counts[label] = min(counts[label] + 1, sizes[label] - 1)
    return counts


def _rank(row_id: str, *, seed: int, purpose: str) -> bytes:
    return hashlib.sha256(f"{purpose}\n{seed}\n{row_id}".encode()).digest()
