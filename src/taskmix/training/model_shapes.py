"""How large a decoder is, without loading it: from its configuration, or from what is published of its name.

No torch here: `taskmix plan` asks.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from taskmix import storage
from taskmix.config.schema import Architecture, DecoderArchitecture, DecoderModel
from taskmix.errors import StorageError


@dataclass(frozen=True)
class ModelShape:
    """A Llama-like decoder: grouped-query attention, a gated feed-forward layer, no biases.

    Attributes:
        layers: of the model.
        hidden: width.
        heads: of attention.
        key_value_heads: of attention.
        head_size: of each head.
        feed_forward: width of the feed-forward layers.
        vocabulary: tokens.
        tied: whether the output layer is the embedding.
        told_by: where this is known from.
    """

    layers: int
    hidden: int
    heads: int
    key_value_heads: int
    head_size: int
    feed_forward: int
    vocabulary: int
    tied: bool
    told_by: str

    @property
    def linear_layers(self) -> tuple[tuple[int, int], ...]:
        """Inputs and outputs of the linear maps of one layer."""
        attended, keys = self.heads * self.head_size, self.key_value_heads * self.head_size
        attention = ((self.hidden, attended), (self.hidden, keys), (self.hidden, keys), (attended, self.hidden))
        wide = (self.hidden, self.feed_forward)
        return (*attention, wide, wide, (self.feed_forward, self.hidden))

    @property
    def layer_parameters(self) -> int:
        """Weights of one layer, its two norms too."""
        return sum(inputs * outputs for inputs, outputs in self.linear_layers) + 2 * self.hidden

    @property
    def parameters(self) -> int:
        """Weights of the model."""
        embeddings = self.vocabulary * self.hidden * (1 if self.tied else 2)
        return self.layers * self.layer_parameters + embeddings + self.hidden

    def lora_parameters(self, rank: int) -> int:
        """Weights of adapters on every linear map of the layers."""
        return self.layers * sum(rank * (inputs + outputs) for inputs, outputs in self.linear_layers)


PUBLISHED = {
    r"llama-?2-7b": (32, 4096, 32, 32, 11008, 32000),
    r"llama-?2-13b": (40, 5120, 40, 40, 13824, 32000),
    r"llama-?2-70b": (80, 8192, 64, 8, 28672, 32000),
    r"llama-?3(\.1)?-8b": (32, 4096, 32, 8, 14336, 128256),
    r"llama-?3(\.[13])?-70b": (80, 8192, 64, 8, 28672, 128256),
}
"""Layers, width, heads, key-value heads, feed-forward width and vocabulary of the models that the paper compares, by
name: arXiv 2307.09288 (appendix A.2.1) and 2407.21783 (table 3), and the configurations published with the weights."""


def shape_of(model: DecoderModel) -> ModelShape | None:
    """The shape of a decoder; null where neither its configuration can be read nor its name is known."""
    if model.architecture is not None:
        return scratch_shape(model.architecture)
    assert model.checkpoint is not None
    read = _read_config(model.checkpoint)
    return _from_config(read) if read else _from_name(model.checkpoint)


def scratch_shape(wanted: Architecture | DecoderArchitecture) -> ModelShape:
    """The shape of a model that starts from random weights; an encoder's layers are counted like a decoder's."""
    grouped = wanted.key_value_heads if isinstance(wanted, DecoderArchitecture) else None
    return ModelShape(
        layers=wanted.layers,
        hidden=wanted.hidden,
        heads=wanted.heads,
        key_value_heads=grouped or wanted.heads,
        head_size=wanted.hidden // wanted.heads,
        feed_forward=wanted.feed_forward,
        vocabulary=wanted.vocabulary,
        tied=True,
        told_by="architecture",
    )


def _read_config(checkpoint: str) -> dict[str, Any] | None:
    """`config.json` of a checkpoint that is at hand; null where it is not, or of another form."""
    try:
        if "://" in checkpoint:
            text = storage.open_store(checkpoint).read("config.json")
        else:
            text = (Path(checkpoint) / "config.json").read_bytes()
        config = json.loads(text)
    except (OSError, StorageError, ValueError):
        return None
    return config if isinstance(config, dict) else None


def _from_config(config: dict[str, Any]) -> ModelShape | None:
    try:
        heads, hidden = int(config["num_attention_heads"]), int(config["hidden_size"])
        return ModelShape(
            layers=int(config["num_hidden_layers"]),
            hidden=hidden,
            heads=heads,
            key_value_heads=int(config.get("num_key_value_heads") or heads),
            head_size=int(config.get("head_dim") or hidden // heads),
            feed_forward=int(config["intermediate_size"]),
            vocabulary=int(config["vocab_size"]),
            tied=bool(config.get("tie_word_embeddings", False)),
            told_by="config.json",
        )
    except (KeyError, TypeError, ValueError):
        return None


def _from_name(checkpoint: str) -> ModelShape | None:
    for pattern, (layers, hidden, heads, keys, feed_forward, vocabulary) in PUBLISHED.items():
        if re.search(pattern, checkpoint.lower().replace("_", "-").replace("llama-meta", "llama")):
            size = hidden // heads
            return ModelShape(
                layers, hidden, heads, keys, size, feed_forward, vocabulary, tied=False, told_by="its published shape"
            )
    return None
