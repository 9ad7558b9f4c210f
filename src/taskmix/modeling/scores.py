"""The primary score of each task type: what training picks its best epoch by and what reports rank by."""

from __future__ import annotations

from collections.abc import Sequence

from taskmix.data.schema import Span


def accuracy(gold: Sequence[str], predicted: Sequence[str]) -> float:
    """Share of texts whose predicted label is the gold one, in [0, 1]; 0 for no texts."""
    return sum(left == right for left, right in zip(gold, predicted, strict=True)) / len(gold) if gold else 0.0


def span_f1(gold: Sequence[Sequence[Span]], predicted: Sequence[Sequence[Span]]) -> float:
    """Micro F1 over spans, in [0, 1]: a span counts only with its exact words and slot (the conll definition).

    With no span at all, gold or predicted, both agree: F1 is then 1.
    """
    right = sum(len(set(left) & set(right)) for left, right in zip(gold, predicted, strict=True))
    total = sum(len(spans) for spans in gold) + sum(len(spans) for spans in predicted)
    return 2 * right / total if total else 1.0
