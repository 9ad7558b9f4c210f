"""What a decoder that answers in text is asked of dev: the score of each task, and at the end the calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from taskmix.config.schema import DecoderModel
from taskmix.data.dataset import Row
from taskmix.modeling.answers import TaskHead
from taskmix.modeling.calibration import fit_rejection_threshold, fit_temperature, softmax
from taskmix.modeling.decoder import PromptAnswerer, load_causal_model
from taskmix.modeling.encoder import pick_device
from taskmix.modeling.prompts import read_prompts
from taskmix.modeling.raw_answers import Raw, RawLabel, RawSpans, span_logits
from taskmix.modeling.scores import accuracy, span_f1
from taskmix.modeling.tokens import load_tokenizer

CALIBRATION_ROWS = 500
"""Dev rows that are asked, of each task, in their order. Arbitrary: one number a task is fitted on them, and a large
model takes its time for each."""


@dataclass(frozen=True)
class AskedBundle:
    """A bundle's raw answers to dev.

    Attributes:
        answers: of each task, row by row.
        parameters: weights of the model.
        precision: that it was asked in, `fp32` or `bf16`.
    """

    answers: dict[str, list[tuple[Row, Raw]]]
    parameters: int
    precision: str


def ask_bundle(
    folder: Path, *, settings: DecoderModel, heads: Mapping[str, TaskHead], dev: Sequence[Row]
) -> AskedBundle:
    """Load the model in `folder`, whose card is not written yet, as prediction will, and ask it dev.

    Raises:
        BundleError: a part is missing.
    """
    module = load_causal_model(folder, device=pick_device("auto"), precision=settings.recipe.precision)
    answerer = PromptAnswerer(
        module, tokenizer=load_tokenizer(folder), prompts=read_prompts(folder), heads=heads, settings=settings
    )
    weights = list(module.parameters())
    precision = "bf16" if weights[0].dtype == torch.bfloat16 else "fp32"
    return AskedBundle(ask_dev(answerer, dev, heads=heads), sum(weight.numel() for weight in weights), precision)


def ask_dev(
    answerer: PromptAnswerer, rows: Sequence[Row], *, heads: Mapping[str, TaskHead], most: int = CALIBRATION_ROWS
) -> dict[str, list[tuple[Row, Raw]]]:
    """Each task's first `most` labelled rows, evenly over them, with the raw answers to it."""
    asked: dict[str, list[tuple[Row, Raw]]] = {}
    for task in heads:
        labelled = [row for row in rows if task in row.labels]
        places = np.unique(np.linspace(0, len(labelled) - 1, min(most, len(labelled))).round().astype(int))
        chosen = [labelled[place] for place in places]
        answers = answerer.answer([row.text for row in chosen], tasks=[task])
        asked[task] = [(row, answer[task]) for row, answer in zip(chosen, answers, strict=True)]
    return asked


def raw_scores(asked: Mapping[str, Sequence[tuple[Row, Raw]]], *, heads: Mapping[str, TaskHead]) -> dict[str, float]:
    """Primary score of each task that was asked of any row."""
    scores = {}
    for task, answered in asked.items():
        if not answered:
            continue
        gold: list[Any] = [row.labels[task] for row, _ in answered]
        if heads[task].type == "classification":
            labels = heads[task].labels.labels
            scores[task] = accuracy(gold, [_label(raw, labels) for _, raw in answered])
        else:
            scores[task] = span_f1(gold, [raw.spans for _, raw in answered if isinstance(raw, RawSpans)])
    return scores


def fit_raw(
    asked: Mapping[str, Sequence[tuple[Row, Raw]]], *, heads: Mapping[str, TaskHead]
) -> tuple[dict[str, float], dict[str, float]]:
    """Temperatures of all tasks, and rejection thresholds of the classification tasks.

    A label's scores are divided as logits are. A span is right or wrong, so its probability is two logits.
    """
    temperatures, thresholds = {}, {}
    for task, answered in asked.items():
        head = heads[task]
        if head.type == "slot_filling":
            temperatures[task] = _fit_spans(answered, task=task)
            continue
        known = [
            (raw.scores_L, head.labels.index(str(row.labels[task])))
            for row, raw in answered
            if isinstance(raw, RawLabel) and raw.scores_L is not None and row.labels[task] in head.labels
        ]
        scores_NL = np.array([scores_L for scores_L, _ in known]).reshape(len(known), len(head.labels))
        gold_N = np.array([gold for _, gold in known], dtype=np.int64)
        temperatures[task] = fit_temperature(scores_NL, gold_N)
        probabilities = softmax(scores_NL, temperature=temperatures[task])
        right = scores_NL.argmax(axis=-1) == gold_N
        thresholds[task] = fit_rejection_threshold(probabilities.max(axis=-1)[right])
    return temperatures, thresholds


def _fit_spans(answered: Sequence[tuple[Row, Raw]], *, task: str) -> float:
    logits, gold = [], []
    for row, raw in answered:
        assert isinstance(raw, RawSpans)
        right = set(row.labels[task])
        for span, log_probability in zip(raw.spans, raw.log_probabilities, strict=True):
            logits.append(span_logits(log_probability))
            gold.append(0 if span in right else 1)
    return fit_temperature(np.array(logits).reshape(-1, 2), np.array(gold, dtype=np.int64))


def _label(raw: Raw, labels: Sequence[str]) -> str:
    assert isinstance(raw, RawLabel)
    return "" if raw.scores_L is None else labels[int(raw.scores_L.argmax())]
