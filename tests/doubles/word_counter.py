"""A tiny real model, and a server around it for tests to start: `python word_counter.py PORT GRPC_PORT [--json]`."""

import sys
import time
from collections.abc import Mapping, Sequence

import numpy as np

from taskmix.config.plan import JobSlice
from taskmix.config.schema import ClassificationTask, LinearModel, SlotFillingTask
from taskmix.data.schema import LabelSpace, Span, split_words
from taskmix.errors import UnknownTask
from taskmix.modeling.answers import Answer, ClassificationAnswer, SlotsAnswer, TaskHead
from taskmix.modeling.bundle import BundleCard, HeadCard, TrainingRecord
from taskmix.modeling.system import Part, System

LENGTHS = ("short", "long")
POISON = "poison"
"""A text with this word makes the model fail, as a bug in it would."""
SLOW = "slow"
"""A text with this word takes `SLOW_S` to answer."""
SLOW_S = 0.6
MAX_WAITING = 16
LIMITS = {"max_instances": 8, "max_characters": 1000, "max_body_bytes": 64 * 1024}


class WordCounter:
    """Answers `length` by the number of words (long from four), `numbers` with the words that are numbers.

    Attributes:
        calls: of `predict`, how many texts each had.
    """

    def __init__(self, tasks: Sequence[str] = ("length", "numbers")) -> None:
        heads = {
            "length": TaskHead("length", "classification", LabelSpace(LENGTHS)),
            "numbers": TaskHead("numbers", "slot_filling", LabelSpace(("number",))),
        }
        self.heads: Mapping[str, TaskHead] = {task: heads[task] for task in tasks}
        self.calls: list[int] = []

    def predict(self, texts: Sequence[str], *, tasks: Sequence[str] | None = None) -> list[dict[str, Answer]]:
        self.calls.append(len(texts))
        if any(SLOW in text.split() for text in texts):
            time.sleep(SLOW_S)
        for task in tasks or ():
            if task not in self.heads:
                raise UnknownTask(task)
        return [{task: self._answer(text, task) for task in tasks or self.heads} for text in texts]

    def _answer(self, text: str, task: str) -> Answer:
        words = split_words(text)
        if any(word.text == POISON for word in words):
            raise ValueError(f"no model survives {text!r}")
        if task == "numbers":
            spans = tuple(Span(i, i + 1, "number") for i, word in enumerate(words) if word.text.isdigit())
            return SlotsAnswer(spans, tuple(0.75 for _ in spans))
        long = float(np.clip(len(words) / 8, 0, 1))
        probabilities = np.array([1 - long, long], dtype=np.float32)
        best = int(probabilities.argmax())
        return ClassificationAnswer(LENGTHS[best], float(probabilities[best]), probabilities)


def card(tasks: Sequence[str] = ("length", "numbers")) -> BundleCard:
    specs = {
        "length": ClassificationTask(type="classification", dataset="words", label="length"),
        "numbers": SlotFillingTask(type="slot_filling", dataset="words", annotation="numbers"),
    }
    heads = {
        "length": HeadCard(type="classification", labels=LENGTHS),
        "numbers": HeadCard(type="slot_filling", labels=("number",)),
    }
    return BundleCard(
        kind="linear",
        job=JobSlice(
            model_name="counter", seed=1, model=LinearModel(kind="linear"), tasks={task: specs[task] for task in tasks}
        ),
        heads={task: heads[task] for task in tasks},
        temperatures={},
        rejection_thresholds={"length": 0.6} if "length" in tasks else {},
        training=TrainingRecord(seconds=0, epochs=0, parameters=0),
        versions={},
    )


def counter_system(model: WordCounter | None = None) -> System:
    tasks = ("length", "numbers")
    return System([Part("memory", "0" * 64, tasks, model or WordCounter(), card())], name="counter/merged")


def main() -> None:
    from taskmix.serving.batching import Bounds
    from taskmix.serving.predictor import Limits
    from taskmix.serving.server import configure_server_logging, serve_system

    json_lines = sys.argv[3:] == ["--json"]
    configure_server_logging(json_lines=json_lines, requests=json_lines)
    port, grpc_port = map(int, sys.argv[1:3])
    bounds, limits = Bounds(max_waiting=MAX_WAITING), Limits(**LIMITS)
    serve_system(counter_system(), name="counter", port=port, grpc_port=grpc_port, limits=limits, bounds=bounds)


if __name__ == "__main__":
    main()
