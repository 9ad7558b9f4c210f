"""Checkpoints of published shapes with random weights, as folders that a configuration names like any other.

A model that starts from `architecture` has as many sub-words as its texts teach its tokenizer, some hundreds here;
these have the vocabulary of the published model, so embeddings, logits and their gradients have their true sizes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from taskmix.training.decoder_scratch import SPECIAL_TOKENS, train_decoder_tokenizer
from taskmix.training.model_shapes import PUBLISHED
from taskmix.training.processes import release_memory
from taskmix.training.scratch import train_tokenizer

TOKENIZER_SIZE = 2000
"""Sub-words that the texts teach; the other rows of the embeddings are never looked up."""


@dataclass(frozen=True)
class Shape:
    """The size of a published model.

    Attributes:
        kind: `decoder` (a Llama) or `encoder` (a RoBERTa), in a configuration's words.
        layers: of the model.
        hidden: width.
        heads: of attention.
        key_value_heads: of attention; as many as heads in an encoder.
        feed_forward: width of the feed-forward layers.
        vocabulary: rows of the embeddings.
    """

    kind: str
    layers: int
    hidden: int
    heads: int
    key_value_heads: int
    feed_forward: int
    vocabulary: int

    @property
    def multiplied(self) -> int:
        """Weights of the layers' matrices: those that every token is multiplied by."""
        attention = 2 * self.hidden**2 * (1 + self.key_value_heads / self.heads)
        matrices = 3 if self.kind == "decoder" else 2  # a Llama's feed-forward layer is gated
        return round(self.layers * (attention + matrices * self.hidden * self.feed_forward))


ROBERTAS = {
    "roberta-base": Shape("encoder", 12, 768, 12, 12, 3072, 50265),
    "roberta-large": Shape("encoder", 24, 1024, 16, 16, 4096, 50265),
}
"""Liu et al. 2019 (arXiv 1907.11692, appendix B); the vocabulary of the configurations published with the weights."""


def published_shape(name: str, *, layers: int | None = None, tiny: bool = False) -> Shape:
    """The shape published under this name.

    Args:
        name: `llama-3-8b`, `roberta-large`, ...
        layers: of its layers, only so many.
        tiny: 2 layers, 32 wide, for trying out; the vocabulary stays.
    """
    shape = ROBERTAS.get(name) or _llama(name)
    if layers is not None:
        shape = replace(shape, layers=layers)
    if tiny:
        heads = {"heads": 4, "key_value_heads": max(1, 4 * shape.key_value_heads // shape.heads)}
        shape = replace(shape, layers=2, hidden=32, feed_forward=64, **heads)
    return shape


def _llama(name: str) -> Shape:
    for pattern, sizes in PUBLISHED.items():
        if re.fullmatch(pattern, name):
            return Shape("decoder", *sizes)
    raise SystemExit(f"--shape {name}: allowed are {', '.join(ROBERTAS)} and names like {', '.join(PUBLISHED)}")


def write_checkpoint(folder: Path, shape: Shape, *, texts: Sequence[str]) -> Path:
    """Draw the weights of a model of this shape, and a tokenizer of these texts, into a folder.

    Weights are bf16, as the published Llamas' are, and drawn on a GPU where there is one.
    """
    torch.manual_seed(13)
    make = _make_llama if shape.kind == "decoder" else _make_roberta
    kept = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
            module, tokenizer = make(shape, texts)
    finally:
        torch.set_default_dtype(kept)
    module.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    del module
    release_memory()  # other processes may be about to train on this GPU
    return folder


def _make_llama(shape: Shape, texts: Sequence[str]) -> tuple[Any, Any]:
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = train_decoder_tokenizer(texts, vocabulary=TOKENIZER_SIZE)
    ids = {f"{name}_id": tokenizer.convert_tokens_to_ids(token) for name, token in SPECIAL_TOKENS.items()}
    config = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_value_heads,
        intermediate_size=shape.feed_forward,
        max_position_embeddings=8192,
        tie_word_embeddings=False,
        **ids,
    )
    return LlamaForCausalLM(config), tokenizer


def _make_roberta(shape: Shape, texts: Sequence[str]) -> tuple[Any, Any]:
    from transformers import RobertaConfig, RobertaModel

    tokenizer = train_tokenizer(texts, vocabulary=TOKENIZER_SIZE)
    config = RobertaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=shape.feed_forward,
        max_position_embeddings=514,
        type_vocab_size=1,
        pad_token_id=tokenizer.pad_token_id,
    )
    return RobertaModel(config), tokenizer
