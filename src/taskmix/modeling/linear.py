"""The linear model: TF-IDF with a linear classifier a classification task, and a tagger of words a slot task.

Tasks of one job share features, but no weights: what one task learns never moves another.
Learning is `training.linear`'s part; storing, loading and answering are here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from taskmix.data.schema import split_words
from taskmix.errors import BundleError
from taskmix.modeling.answers import Answer, ClassificationAnswer, SlotsAnswer, TaskHead, known_tasks
from taskmix.modeling.bundle import BundleCard
from taskmix.modeling.calibration import softmax
from taskmix.modeling.linear_features import TextFeatures, WindowFeatures
from taskmix.modeling.tagging import best_path, read_spans

WEIGHTS_FILE = "linear.safetensors"
VOCABULARY_FILE = "vocabulary.json"


@dataclass(frozen=True)
class LinearScores:
    """Scores of classes from features: features @ weights + bias.

    Attributes:
        weights_FL: (features, classes) float32.
        bias_L: (classes,) float32.
    """

    weights_FL: NDArray[np.float32]
    bias_L: NDArray[np.float32]

    def __call__(self, features_NF: Any) -> NDArray[np.float32]:
        """(rows, classes) float32 margins: above 0 where a class is the likelier side of its one-against-rest."""
        scores: NDArray[np.float32] = features_NF @ self.weights_FL + self.bias_L
        return scores


@dataclass(frozen=True)
class LinearWeights:
    """All that a linear job has learnt: what its bundle holds beside the card.

    Attributes:
        text_features: of the classification tasks; null where the job has none.
        window_features: of the slot tasks; null where the job has none.
        scores: task to the scores of its labels, or of its BIO tags, in the order of the label space.
        transitions: slot task to (tags + 1, tags) float32: what a tag after another adds to its margin, -inf where BIO
            forbids it; the last row is for the first word.
    """

    text_features: TextFeatures | None
    window_features: WindowFeatures | None
    scores: dict[str, LinearScores]
    transitions: dict[str, NDArray[np.float32]]

    @property
    def parameters(self) -> int:
        """How many numbers were learnt."""
        return sum(tensor.size for tensor in self.tensors().values())

    def tensors(self) -> dict[str, NDArray[np.float32]]:
        """Everything numeric, by its name in the bundle."""
        tensors = {f"{task}.transitions": matrix for task, matrix in self.transitions.items()}
        for task, scores in self.scores.items():
            tensors |= {f"{task}.weights": scores.weights_FL, f"{task}.bias": scores.bias_L}
        if self.text_features is not None:
            tensors["idf"] = self.text_features.idf
        return tensors

    def save(self, folder: Path) -> None:
        """Write vocabulary (JSON) and numbers (safetensors) into `folder`; the card is written apart."""
        text, windows = self.text_features, self.window_features
        vocabulary = {
            "words": list(text.words) if text else None,
            "letters": list(text.letters) if text else None,
            "windows": list(windows.terms) if windows else None,
        }
        (folder / VOCABULARY_FILE).write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
        save_file(
            {name: np.ascontiguousarray(tensor) for name, tensor in self.tensors().items()}, folder / WEIGHTS_FILE
        )


class LinearClassifier:
    """A trained linear job with its calibration: an implementation of `modeling.answers.Model`."""

    def __init__(self, weights: LinearWeights, *, card: BundleCard) -> None:
        self.card = card
        self.heads: Mapping[str, TaskHead] = card.task_heads
        self._weights = weights

    def predict(self, texts: Sequence[str], *, tasks: Sequence[str] | None = None) -> list[dict[str, Answer]]:
        """Answer `tasks` (default: all) for each text; see `modeling.answers.Model`.

        Raises:
            UnknownTask: a task is not one of `heads`.
        """
        asked = known_tasks(tasks, heads=self.heads)
        if not texts:
            return []
        answers: dict[str, Sequence[Answer]] = {}
        classified = [task for task in asked if self.heads[task].type == "classification"]
        if classified:
            assert self._weights.text_features is not None
            features = self._weights.text_features.transform(texts)
            answers |= {task: self._classify(task, features) for task in classified}
        if len(classified) < len(asked):
            assert self._weights.window_features is not None
            words = [[word.text for word in split_words(text)] for text in texts]
            features = self._weights.window_features.transform(words)
            ends = np.cumsum([len(text) for text in words])[:-1]
            answers |= {task: self._tag(task, features, ends) for task in asked if task not in answers}
        return [{task: answers[task][index] for task in asked} for index in range(len(texts))]

    def _classify(self, task: str, features_NF: Any) -> list[ClassificationAnswer]:
        labels = self.heads[task].labels.labels
        probabilities_NL = self._probabilities(task, self._weights.scores[task](features_NF))
        return [
            ClassificationAnswer(labels[best], float(row[best]), row.astype(np.float32))
            for row, best in zip(probabilities_NL, probabilities_NL.argmax(axis=-1), strict=True)
        ]

    def _tag(self, task: str, features_WF: Any, ends: NDArray[np.int64]) -> list[SlotsAnswer]:
        labels, transitions = self.heads[task].labels, self._weights.transitions[task]
        scores_WG = self._weights.scores[task](features_WF)
        probabilities_WG = self._probabilities(task, scores_WG)
        return [
            read_spans(best_path(scores, transitions=transitions), probabilities, labels=labels)
            for scores, probabilities in zip(np.split(scores_WG, ends), np.split(probabilities_WG, ends), strict=True)
        ]

    def _probabilities(self, task: str, scores: NDArray[np.float32]) -> NDArray[np.float64]:
        return softmax(scores, temperature=self.card.temperatures.get(task, 1.0))


def load_linear(folder: Path, card: BundleCard) -> LinearClassifier:
    """The linear model in `folder`; it answers exactly as the one that was saved.

    Raises:
        BundleError: a file is missing, or does not hold what the card describes.
    """
    for name in (WEIGHTS_FILE, VOCABULARY_FILE):
        if not (folder / name).is_file():
            raise BundleError(f"{folder / name}: is missing; fetch the bundle again or train the job again")
    try:
        vocabulary = json.loads((folder / VOCABULARY_FILE).read_text(encoding="utf-8"))
        weights = _read_weights(vocabulary, load_file(folder / WEIGHTS_FILE), heads=card.task_heads)
        _check_shapes(weights, heads=card.task_heads)
    except (ValueError, KeyError, TypeError, SafetensorError) as error:
        raise BundleError(
            f"{folder}: {VOCABULARY_FILE} and {WEIGHTS_FILE} do not hold the model that the card describes "
            f"({error}); fetch the bundle again or train the job again"
        ) from None
    return LinearClassifier(weights, card=card)


def _read_weights(
    vocabulary: dict[str, Any], tensors: dict[str, NDArray[np.float32]], *, heads: Mapping[str, TaskHead]
) -> LinearWeights:
    text = windows = None
    if vocabulary["words"] is not None:
        text = TextFeatures(tuple(vocabulary["words"]), tuple(vocabulary["letters"]), tensors["idf"])
    if vocabulary["windows"] is not None:
        windows = WindowFeatures(tuple(vocabulary["windows"]))
    scores = {task: LinearScores(tensors[f"{task}.weights"], tensors[f"{task}.bias"]) for task in heads}
    slot_tasks = [task for task, head in heads.items() if head.type == "slot_filling"]
    return LinearWeights(text, windows, scores, {task: tensors[f"{task}.transitions"] for task in slot_tasks})


def _check_shapes(weights: LinearWeights, *, heads: Mapping[str, TaskHead]) -> None:
    for task, head in heads.items():
        slots = head.type == "slot_filling"
        features, classes = (
            (weights.window_features, len(head.labels.tags)) if slots else (weights.text_features, len(head.labels))
        )
        expected = (len(features or ()), classes)
        if weights.scores[task].weights_FL.shape != expected or weights.scores[task].bias_L.shape != (classes,):
            raise ValueError(f"weights of '{task}' are {weights.scores[task].weights_FL.shape}, not {expected}")
        if slots and weights.transitions[task].shape != (classes + 1, classes):
            raise ValueError(f"transitions of '{task}' are {weights.transitions[task].shape}")
