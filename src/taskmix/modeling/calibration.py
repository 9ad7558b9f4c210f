"""From scores to probabilities that mean what they say: temperature scaling, and a threshold for rejecting texts.

Numpy and scipy only, so that every kind of model shares it. Training fits on dev and puts the numbers on the bundle's
card; models apply them when they predict. How well it worked (ECE) is measured in evaluation.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

TEMPERATURES = (0.02, 50.0)
"""Range that a fitted temperature lies in. Arbitrary, but wide: without a bound, a dev split without one mistake would
ask for temperature 0."""


def softmax(logits: ArrayLike, *, temperature: float = 1.0) -> NDArray[np.float64]:
    """Probabilities of logits divided by a temperature; sums to 1 over the last axis.

    Args:
        logits: (..., labels) unnormalised scores; -inf gives probability 0.
        temperature: above 1 flattens, below 1 sharpens; the order of the labels stays. Above 0.

    Returns:
        (..., labels) float64, computed in float64 whatever the logits' precision.
    """
    assert temperature > 0, temperature
    # Not scipy's softmax: its checks take longer than the few numbers of a served text do.
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    scaled -= scaled.max(axis=-1, keepdims=True)
    probabilities: NDArray[np.float64] = np.exp(scaled, out=scaled)
    probabilities /= probabilities.sum(axis=-1, keepdims=True)
    return probabilities


def fit_temperature(logits_NL: ArrayLike, gold_N: ArrayLike) -> float:
    """The temperature that makes the gold labels most probable (least mean negative log-likelihood).

    Source: Guo et al. 2017, On Calibration of Modern Neural Networks, section 4.2 (arXiv 1706.04599).

    Args:
        logits_NL: (examples, labels) unnormalised scores of held-out examples (dev): on train they are overconfident.
        gold_N: (examples,) class index of each example's gold label; leave out examples whose label has none.

    Returns:
        The temperature, within `TEMPERATURES`; 1.0 where there is no example to fit on.
    """
    logits = np.asarray(logits_NL, dtype=np.float64)
    gold = np.asarray(gold_N, dtype=np.int64)
    if not gold.size:
        return 1.0
    rows = np.arange(gold.size)

    def loss(log_temperature: float) -> float:
        return float(-log_softmax(logits / math.exp(log_temperature), axis=-1)[rows, gold].mean())

    bounds = (math.log(TEMPERATURES[0]), math.log(TEMPERATURES[1]))
    return math.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x)


def fit_rejection_threshold(probabilities: ArrayLike, *, keep: float = 0.99) -> float:
    """The probability below which a text counts as out of the task's scope.

    A text is in scope when its answer's probability is at least the threshold: the confidence baseline of Hendrycks
    and Gimpel 2017 (arXiv 1610.02136), at the operating point that loses few good answers.

    Args:
        probabilities: (answers,) calibrated probabilities of the rightly answered dev texts.
        keep: the least share of those that stays in scope, in (0, 1]; 0.99 is our choice, not a source's.

    Returns:
        The greatest of `probabilities` that keeps the share; 0.0 (nothing is rejected) where there is none.
    """
    values = np.sort(np.asarray(probabilities, dtype=np.float64).ravel())
    if not values.size:
        return 0.0
    rejected = math.floor((1.0 - keep) * values.size + 1e-9)  # the tiny term undoes rounding: 0.01 * 100 is 1
    return float(values[min(rejected, values.size - 1)])
