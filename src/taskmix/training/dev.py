"""What training asks of the dev split: the score of each task after an epoch, and at the end the calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from taskmix.data.dataset import Row
from taskmix.data.schema import Span
from taskmix.modeling.answers import TaskHead
from taskmix.modeling.backends import TorchBackend, compute_logits
from taskmix.modeling.calibration import fit_rejection_threshold, fit_temperature, softmax
from taskmix.modeling.encoder import MultiTaskEncoder, read_slots
from taskmix.modeling.scores import accuracy, span_f1
from taskmix.modeling.tokens import TokenizedText
from taskmix.modeling.windows import WindowRule
from taskmix.training.batches import IGNORED, label_ids


@dataclass(frozen=True)
class DevSet:
    """The dev rows of a mixture, tokenized once."""

    rows: Sequence[Row]
    texts: Sequence[TokenizedText]
    windows: WindowRule | None = None
    """How long texts are read; null where they were cut."""


def dev_logits(
    module: Any, *, dev: DevSet, tokenizer: Any, heads: Mapping[str, TaskHead], device: torch.device
) -> dict[str, list[NDArray[np.float32]]]:
    """Logits of every dev text for every task, with the module in evaluation mode and back."""
    was_training = module.training
    module.eval()
    backend = TorchBackend(module, device=device)
    logits = compute_logits(
        backend, dev.texts, tasks=list(heads), pad_token_id=tokenizer.pad_token_id, windows=dev.windows
    )
    module.train(was_training)
    return logits


def dev_scores(
    logits: Mapping[str, Sequence[NDArray[np.float32]]], *, dev: DevSet, heads: Mapping[str, TaskHead]
) -> dict[str, float]:
    """Primary score of each task that dev has labels of."""
    scores = {}
    for task, head in heads.items():
        labelled = [index for index, row in enumerate(dev.rows) if task in row.labels]
        if not labelled:
            continue
        gold: list[Any] = [dev.rows[index].labels[task] for index in labelled]
        if head.type == "classification":
            predicted = [head.labels.labels[int(logits[task][index].argmax())] for index in labelled]
            scores[task] = accuracy(gold, predicted)
        else:
            spans: list[Sequence[Span]] = [
                read_slots(dev.rows[index].text, dev.texts[index], logits[task][index], labels=head.labels).spans
                for index in labelled
            ]
            scores[task] = span_f1(gold, spans)
    return scores


def calibrate(
    module: MultiTaskEncoder, *, dev: DevSet, heads: Mapping[str, TaskHead], tokenizer: Any, device: torch.device
) -> tuple[dict[str, float], dict[str, float]]:
    """Temperatures of all tasks and rejection thresholds of the classification tasks, fitted on dev."""
    logits = dev_logits(module, dev=dev, tokenizer=tokenizer, heads=heads, device=device)
    temperatures, thresholds = {}, {}
    for task, head in heads.items():
        scored, gold = labelled_logits(logits[task], task=task, dev=dev, head=head)
        temperatures[task] = fit_temperature(scored, gold)
        if head.type == "classification":
            probabilities = softmax(scored, temperature=temperatures[task])
            right = probabilities.argmax(axis=-1) == gold
            thresholds[task] = fit_rejection_threshold(probabilities.max(axis=-1)[right])
    return temperatures, thresholds


def labelled_logits(
    logits: Sequence[NDArray[np.float32]], *, task: str, dev: DevSet, head: TaskHead
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Logits (items, labels) and class indices (items,) of the texts, or for slots the words, that dev labels."""
    kept, gold = [np.empty((0, 1), np.float32)][:0], []
    for row, tokens, scores in zip(dev.rows, dev.texts, logits, strict=True):
        if task not in row.labels:
            continue
        ids = label_ids(row.labels[task], text=row.text, tokens=tokens, head=head)
        rows = np.atleast_2d(scores)[ids != IGNORED]
        kept.append(rows)
        gold.append(ids[ids != IGNORED])
    if not kept:
        return np.zeros((0, 1), np.float32), np.zeros(0, np.int64)
    return np.concatenate(kept), np.concatenate(gold)
