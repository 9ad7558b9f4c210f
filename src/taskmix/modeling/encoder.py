"""The encoder: one backbone, one head a task, one forward pass for all of them.

Classification reads the pooled text, slot filling the first sub-word of every word. A single-task model is the same
with one head. Training (another layer) drives `MultiTaskEncoder`; evaluation and serving use `EncoderModel`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from taskmix.config import schema
from taskmix.data.schema import LabelSpace, split_words
from taskmix.errors import BundleError
from taskmix.modeling.answers import Answer, ClassificationAnswer, SlotsAnswer, TaskHead, known_tasks
from taskmix.modeling.backends import Backend, TorchBackend, compute_logits
from taskmix.modeling.bundle import BundleCard
from taskmix.modeling.calibration import softmax
from taskmix.modeling.checkpoint import without_pooler
from taskmix.modeling.packed_layers import pack_linears
from taskmix.modeling.tagging import OUTSIDE, best_tags, read_spans
from taskmix.modeling.tokens import TokenizedText, load_tokenizer, tokenize
from taskmix.modeling.windows import WindowRule, window_rule

WEIGHTS_FILE = "model.safetensors"
HEAD_DROPOUT = 0.1
"""Between backbone and heads, where the recipe sets no dropout (Devlin et al. 2019, appendix A.3)."""

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


class MultiTaskEncoder(nn.Module):
    """A backbone with a linear head for each task.

    Args:
        backbone: a transformers encoder whose output has `last_hidden_state`.
        heads: the tasks to answer.
        pooling: `mean` of the text's tokens, the first (`cls`) or the last (`last`).
        dropout: rate between backbone and heads while training.
    """

    def __init__(
        self, backbone: Any, *, heads: Mapping[str, TaskHead], pooling: str, dropout: float = HEAD_DROPOUT
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.pooling = pooling
        self.dropout = nn.Dropout(dropout)
        width = int(backbone.config.hidden_size)
        self.heads = nn.ModuleDict({task: nn.Linear(width, output_size(head)) for task, head in heads.items()})
        self.types = {task: head.type for task, head in heads.items()}

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, tasks: Sequence[str] | None = None
    ) -> dict[str, Tensor]:
        """Logits of each task.

        Args:
            input_ids: (batch, tokens) int64.
            attention_mask: (batch, tokens) int64, 1 where there is a token.
            tasks: which heads to compute; null computes all.

        Returns:
            Task to (batch, labels) for classification, (batch, tokens, tags) for slot filling.
        """
        hidden_BTD = self.backbone(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        hidden_BTD = self.dropout(hidden_BTD)
        pooled_BD = self._pool(hidden_BTD, attention_mask)
        chosen = self.types if tasks is None else tasks
        return {
            task: self.heads[task](pooled_BD if self.types[task] == "classification" else hidden_BTD) for task in chosen
        }

    def _pool(self, hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        if self.pooling == "cls":
            return hidden_BTD[:, 0]
        if self.pooling == "last":
            return hidden_BTD[torch.arange(len(hidden_BTD), device=hidden_BTD.device), mask_BT.sum(dim=1) - 1]
        mask_BT1 = mask_BT.unsqueeze(-1).to(hidden_BTD.dtype)
        return (hidden_BTD * mask_BT1).sum(dim=1) / mask_BT1.sum(dim=1).clamp(min=1)


def output_size(head: TaskHead) -> int:
    """Logits that a task's head gives: a label each, or a BIO tag each."""
    return len(head.labels) if head.type == "classification" else len(head.labels.tags)


class EncoderModel:
    """A trained encoder with its tokenizer and calibration: an implementation of `modeling.answers.Model`."""

    def __init__(self, backend: Backend, *, tokenizer: Any, card: BundleCard) -> None:
        self.card = card
        self.heads = card.task_heads
        self._backend = backend
        self._tokenizer = tokenizer
        assert isinstance(card.job.model, schema.EncoderModel)
        self._pooling = card.job.model.pooling
        self._windows = windows_of(card.job.model.recipe, tokenizer=tokenizer)
        self._max_tokens = None if self._windows else card.job.model.recipe.max_tokens

    def predict(self, texts: Sequence[str], *, tasks: Sequence[str] | None = None) -> list[dict[str, Answer]]:
        """Answer `tasks` (default: all) for each text; see `modeling.answers.Model`.

        Raises:
            UnknownTask: a task is not one of `heads`.
        """
        asked = known_tasks(tasks, heads=self.heads)
        if not texts:
            return []
        tokenized = tokenize(texts, tokenizer=self._tokenizer, max_tokens=self._max_tokens, pooling=self._pooling)
        pad_token_id = self._tokenizer.pad_token_id
        logits = compute_logits(self._backend, tokenized, tasks=asked, pad_token_id=pad_token_id, windows=self._windows)
        columns = {task: self._answers(task, texts, tokenized, logits[task]) for task in asked}
        return [{task: columns[task][index] for task in asked} for index in range(len(texts))]

    def _answers(
        self, task: str, texts: Sequence[str], tokens: Sequence[TokenizedText], logits: list[NDArray[np.float32]]
    ) -> Sequence[Answer]:
        head, temperature = self.heads[task], self.card.temperatures.get(task, 1.0)
        if head.type == "slot_filling":
            return [
                read_slots(text, row, scores, labels=head.labels, temperature=temperature)
                for text, row, scores in zip(texts, tokens, logits, strict=True)
            ]
        probabilities_BL = softmax(np.stack(logits), temperature=temperature)
        return [
            ClassificationAnswer(head.labels.labels[best], float(row[best]), row.astype(np.float32))
            for row, best in zip(probabilities_BL, probabilities_BL.argmax(axis=-1), strict=True)
        ]


def windows_of(recipe: schema.EncoderRecipe, *, tokenizer: Any) -> WindowRule | None:
    """How the recipe lets long texts be read; null where it cuts them."""
    return window_rule(tokenizer, max_tokens=recipe.max_tokens) if recipe.long_texts == "windows" else None


def read_slots(
    text: str, tokens: TokenizedText, logits_TG: NDArray[np.float32], *, labels: LabelSpace, temperature: float = 1.0
) -> SlotsAnswer:
    """Spans from the tag logits (tokens, tags) of one text; a word that was cut off counts as outside."""
    starts_W = tokens.word_starts
    assert len(starts_W) == len(split_words(text))
    logits_WG = logits_TG[starts_W]
    logits_WG[starts_W < 0] = np.where(np.arange(logits_TG.shape[-1]) == OUTSIDE, 0.0, -np.inf)
    path_W = best_tags(logits_WG, labels=labels)
    return read_spans(path_W, softmax(logits_WG, temperature=temperature), labels=labels)


def save_encoder(module: MultiTaskEncoder, folder: Path, *, tokenizer: Any) -> None:
    """Write weights, backbone configuration and tokenizer into `folder`; the card is written apart."""
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}
    save_file(weights, folder / WEIGHTS_FILE, metadata={"format": "pt"})
    module.backbone.config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def load_encoder(folder: Path, card: BundleCard, *, device: str = "auto", precision: str = "fp32") -> EncoderModel:
    """The encoder in `folder`, in torch.

    Args:
        folder: of the bundle.
        card: the bundle's.
        device: see `pick_device`.
        precision: `bf16` rounds the weights: for processors that multiply it natively (AMX, GPUs).

    Raises:
        BundleError: weights are missing, or are not those that the card describes.
    """
    module = load_module(folder, card).to(place := pick_device(device), PRECISIONS[precision])
    if place.type == "cpu":
        pack_linears(module)
    backend = TorchBackend(module, device=place)
    return EncoderModel(backend, tokenizer=load_tokenizer(folder), card=card)


def load_module(folder: Path, card: BundleCard) -> MultiTaskEncoder:
    """The network in `folder`, in fp32 on the CPU, ready to predict.

    Raises:
        BundleError: weights are missing, or are not those that the card describes.
    """
    from transformers import AutoConfig, AutoModel

    assert isinstance(card.job.model, schema.EncoderModel)
    backbone = without_pooler(AutoModel.from_config(AutoConfig.from_pretrained(folder)))
    module = MultiTaskEncoder(backbone, heads=card.task_heads, pooling=card.job.model.pooling)
    path = folder / WEIGHTS_FILE
    if not path.is_file():
        raise BundleError(f"{path}: is missing; fetch the bundle again or train the job again")
    load_weights(module, path)
    return module.eval()


def load_weights(module: nn.Module, path: Path) -> None:
    """Load the safetensors file at `path` into `module`, every tensor accounted for.

    Raises:
        BundleError: a tensor is missing, left over, or of another shape.
    """
    try:
        module.load_state_dict(load_file(path), strict=True)
    except RuntimeError as error:
        raise BundleError(f"{path}: does not hold the weights of this model: {error}") from None


def pick_device(device: str) -> torch.device:
    """`auto` is the first GPU where there is one, else the CPU; any other name is torch's own."""
    if device != "auto":
        return torch.device(device)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
