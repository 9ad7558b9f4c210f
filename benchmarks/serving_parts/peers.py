"""The servers that `benchmarks/serving.py` measures ours against, and ours around a model that does nothing.

    python peers.py plain     BUNDLE --port 8081   # a plain kserve custom model, request by request
    python peers.py noop      BUNDLE --port 8081   # kserve's SDK around nothing
    python peers.py ours-noop BUNDLE --port 8081   # taskmix's server around nothing

`plain` is what the SDK's own examples do: tokenize the request's texts, one padded batch, one forward pass, answer.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

ARGUMENTS, sys.argv = sys.argv[1:], sys.argv[:1]  # kserve parses the command line when it is imported

import kserve  # noqa: E402

from taskmix.modeling.answers import Answer, ClassificationAnswer, SlotsAnswer, TaskHead  # noqa: E402
from taskmix.modeling.bundle import BundleCard, read_card  # noqa: E402


class PlainModel(kserve.Model):
    """The bundle's network behind the SDK's own routes."""

    def __init__(self, name: str, folder: Path) -> None:
        super().__init__(name)
        import torch

        from taskmix.modeling.encoder import load_module
        from taskmix.modeling.tokens import load_tokenizer

        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
        self._torch = torch
        self._card = read_card(folder)
        self._module = load_module(folder, self._card)
        self._tokenizer = load_tokenizer(folder)
        self.ready = True

    def predict(self, payload: dict[str, Any], headers: dict[str, str] | None = None) -> dict[str, Any]:
        """Answer the request's texts as one padded batch."""
        texts = [instance["text"] for instance in payload["instances"]]
        encoded = self._tokenizer(texts, return_tensors="pt", padding=True, truncation=True, max_length=256)
        with self._torch.inference_mode():
            logits = self._module(encoded["input_ids"], encoded["attention_mask"])
        return {"predictions": [self._row({task: rows[i] for task, rows in logits.items()}) for i in range(len(texts))]}

    def _row(self, logits: Mapping[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = {}
        for task, head in self._card.task_heads.items():
            probabilities = logits[task].softmax(-1)
            best = probabilities.argmax(-1)
            if head.type == "classification":
                answer[task] = {"label": head.labels.labels[best], "probability": float(probabilities[best])}
            else:
                answer[task] = [head.labels.tags[tag] for tag in best.tolist()]
        return answer


class NothingModel(kserve.Model):
    """The SDK alone."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.ready = True

    def predict(self, payload: dict[str, Any], headers: dict[str, str] | None = None) -> dict[str, Any]:
        """Answer nothing."""
        return {"predictions": [{} for _ in payload["instances"]]}


class Nothing:
    """A model of ours that answers at once, the same to every text."""

    def __init__(self, card: BundleCard) -> None:
        self.heads: Mapping[str, TaskHead] = card.task_heads
        self._answers: dict[str, Answer] = {}
        for task, head in self.heads.items():
            if head.type == "classification":
                shares = np.full(len(head.labels), 1 / len(head.labels), np.float32)
                self._answers[task] = ClassificationAnswer(head.labels.labels[0], 1 / len(head.labels), shares)
            else:
                self._answers[task] = SlotsAnswer((), ())

    def predict(self, texts: Sequence[str], *, tasks: Sequence[str] | None = None) -> list[dict[str, Answer]]:
        """Answer at once."""
        return [{task: self._answers[task] for task in tasks or self.heads} for _ in texts]


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("plain", "noop", "ours-noop"))
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--name", default="model")
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args(ARGUMENTS)
    if arguments.kind == "ours-noop":
        from taskmix.modeling.system import Part, System
        from taskmix.serving.server import serve_system

        card = read_card(arguments.bundle)
        part = Part("memory", "0" * 64, tuple(card.heads), Nothing(card), card)
        serve_system(System([part], name="nothing"), name=arguments.name, port=arguments.port)
        return
    model = PlainModel(arguments.name, arguments.bundle) if arguments.kind == "plain" else NothingModel(arguments.name)
    kserve.ModelServer(http_port=arguments.port, workers=1, enable_grpc=False).start([model])


if __name__ == "__main__":
    main()
