"""What to look at beside the scores: per-label rows, confusions, reliability, worst errors. Read off predictions."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from taskmix.data.schema import Span, split_words
from taskmix.evaluation.metrics import answered_spans, bin_of, label_order
from taskmix.evaluation.predictions import ClassificationPredictions, Predictions, SlotPredictions
from taskmix.evaluation.scorecard import ConfusedPair, Confusion, ErrorExample, LabelRow, ReliabilityBin
from taskmix.modeling.answers import NO_ANSWER

NO_SPAN = "(no span)"
ERRORS_KEPT = 20
CONFUSIONS_KEPT = 20
MATRIX_LABELS = 120
"""Labels of a confusion matrix that is kept whole; its drawing is readable to about a hundred."""
TEXT_CHARACTERS = 300
"""Of an error's text that are shown; the whole text lies with the predictions."""


def per_label(predictions: Predictions) -> tuple[LabelRow, ...]:
    """One row a label (or slot), in the order of the label space; then gold labels outside it."""
    if isinstance(predictions, ClassificationPredictions):
        gold, answered = Counter(predictions.gold), Counter(predictions.predicted)
        right = Counter(g for g, p in zip(predictions.gold, predictions.predicted, strict=True) if g == p)
        order = label_order(predictions)
    else:
        gold = Counter(span.slot for spans in predictions.gold for span in spans)
        answered = Counter(span.slot for spans in predictions.predicted for span in spans)
        pairs = zip(predictions.gold, predictions.predicted, strict=True)
        right = Counter(span.slot for spans, found in pairs for span in set(spans) & set(found))
        order = _slot_order(predictions)
    return tuple(_label_row(label, gold[label], answered[label], right[label]) for label in order)


def confusion(predictions: Predictions) -> Confusion:
    """What was answered where what was right."""
    if isinstance(predictions, ClassificationPredictions):
        order: tuple[str, ...] = (*label_order(predictions), *(() if predictions.valid.all() else (NO_ANSWER,)))
        pairs = Counter(zip(predictions.gold, predictions.predicted, strict=True))
    else:
        order = (*_slot_order(predictions), NO_SPAN)
        pairs = Counter()
        for gold, answered in zip(predictions.gold, predictions.predicted, strict=True):
            pairs.update(_span_pairs(gold, answered))
    position = {label: index for index, label in enumerate(order)}
    matrix: tuple[tuple[int, ...], ...] | None = None
    if len(order) <= MATRIX_LABELS:
        cells = np.zeros((len(order), len(order)), dtype=np.int64)
        for (gold_label, answered_label), count in pairs.items():
            cells[position[gold_label], position[answered_label]] = count
        matrix = tuple(map(tuple, cells.tolist()))
    return Confusion(labels=order, matrix=matrix, top=_top_confusions(pairs))


def reliability(predictions: Predictions, *, bins: int) -> tuple[ReliabilityBin, ...]:
    """The bins of the calibration error that hold an answer."""
    if isinstance(predictions, ClassificationPredictions):
        probability, right = predictions.probability, predictions.right
    else:
        probability, right, _ = answered_spans(predictions)
    probability, right = probability[~np.isnan(probability)], right[~np.isnan(probability)]
    where = bin_of(probability, bins=bins)
    return tuple(_bin(index, bins, probability[where == index], right[where == index]) for index in np.unique(where))


def worst_errors(predictions: Predictions) -> tuple[ErrorExample, ...]:
    """The wrong answers that the model was surest of, surest first."""
    wrong = np.flatnonzero(~predictions.right)
    sureness = [(_probability(predictions, int(index)), int(index)) for index in wrong]
    sureness.sort(key=lambda item: (-(item[0] if item[0] is not None else 0.0), item[1]))
    return tuple(_error(predictions, index, probability) for probability, index in sureness[:ERRORS_KEPT])


def _top_confusions(pairs: Counter[tuple[str, str]]) -> tuple[ConfusedPair, ...]:
    occurrences: Counter[str] = Counter()
    for (gold, _), count in pairs.items():
        occurrences[gold] += count
    found = [
        ConfusedPair(
            gold=gold, predicted=answered, count=count, share=None if gold == NO_SPAN else count / occurrences[gold]
        )
        for (gold, answered), count in pairs.items()
        if gold != answered
    ]
    return tuple(sorted(found, key=lambda pair: (-pair.count, pair.gold, pair.predicted))[:CONFUSIONS_KEPT])


def _slot_order(predictions: SlotPredictions) -> tuple[str, ...]:
    space = predictions.examples.labels
    return (*space, *sorted({span.slot for spans in predictions.gold for span in spans} - set(space)))


def _label_row(label: str, gold: int, answered: int, right: int) -> LabelRow:
    return LabelRow(
        label=label,
        gold=gold,
        answered=answered,
        right=right,
        precision=right / answered if answered else None,
        recall=right / gold if gold else None,
        f1=2 * right / (gold + answered) if gold + answered else None,
    )


def _span_pairs(gold: Sequence[Span], answered: Sequence[Span]) -> list[tuple[str, str]]:
    """Slots of spans with the same words; a span without counterpart is paired with `NO_SPAN`."""
    golds = {(span.start, span.end): span.slot for span in gold}
    found = {(span.start, span.end): span.slot for span in answered}
    return [(golds.get(words, NO_SPAN), found.get(words, NO_SPAN)) for words in sorted(golds.keys() | found.keys())]


def _bin(index: int, bins: int, probability: NDArray[np.float64], right: NDArray[np.bool_]) -> ReliabilityBin:
    return ReliabilityBin(
        low=index / bins,
        high=(index + 1) / bins,
        count=len(probability),
        confidence=float(probability.mean()),
        accuracy=float(right.mean()),
    )


def _probability(predictions: Predictions, index: int) -> float | None:
    if isinstance(predictions, ClassificationPredictions):
        told = [float(predictions.probability[index])]
    else:
        told = list(predictions.probabilities[index])
    return min((probability for probability in told if not math.isnan(probability)), default=None)


def _error(predictions: Predictions, index: int, probability: float | None) -> ErrorExample:
    text = predictions.examples.texts[index]
    if isinstance(predictions, ClassificationPredictions):
        gold, predicted = predictions.gold[index], predictions.predicted[index]
    else:
        gold, predicted = (tell_spans(spans[index], text) for spans in (predictions.gold, predictions.predicted))
    return ErrorExample(
        id=predictions.examples.ids[index], text=_cut(text), gold=gold, predicted=predicted, probability=probability
    )


def tell_spans(spans: Sequence[Span], text: str) -> str:
    """Spans for people: `time: five am; place: home`."""
    words = [word.text for word in split_words(text)]
    return "; ".join(f"{span.slot}: {' '.join(words[span.start : span.end])}" for span in spans) or NO_SPAN


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= TEXT_CHARACTERS else line[:TEXT_CHARACTERS].rstrip() + " …"
