"""A Llama with random weights and a tokenizer trained on the job's own texts: a start that needs no download."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from taskmix.config.schema import DecoderArchitecture
from taskmix.modeling.answers import TaskHead
from taskmix.modeling.prompts import PromptSet

SPECIAL_TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
POSITIONS = 8192
"""Rotary positions need no weights; this only tells how far the model may be asked."""


def scratch_decoder(
    architecture: DecoderArchitecture, *, prompts: PromptSet, heads: Mapping[str, TaskHead], texts: Sequence[str]
) -> tuple[Any, Any]:
    """A Llama with random weights, drawn from torch's generator, and its tokenizer.

    The tokenizer learns from the job's texts, and from what prompts and answers are made of.
    """
    words = [part for prompt in prompts.prompts for part in (prompt.header, prompt.question)]
    labels = [f" {label}" for head in heads.values() for label in head.labels.labels]
    tokenizer = train_decoder_tokenizer([*texts, *words, *labels], vocabulary=architecture.vocabulary)
    return random_decoder(architecture, tokenizer=tokenizer), tokenizer


def train_decoder_tokenizer(texts: Iterable[str], *, vocabulary: int) -> Any:
    """A byte-level BPE tokenizer (Radford et al. 2019, section 2.2): every text can be read and written exactly.

    Args:
        texts: prompts' words and answers too, so that labels and slots are few tokens.
        vocabulary: sub-words, at most; 256 bytes and the special tokens are always in it.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(r"\n+"), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL_TOKENS.values()),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    bos = SPECIAL_TOKENS["bos_token"]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", special_tokens=[(bos, tokenizer.token_to_id(bos))]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **SPECIAL_TOKENS)


def random_decoder(architecture: DecoderArchitecture, *, tokenizer: Any) -> Any:
    """A Llama of this size with random weights, drawn from torch's generator: seed it before."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=architecture.hidden,
        num_hidden_layers=architecture.layers,
        num_attention_heads=architecture.heads,
        num_key_value_heads=architecture.key_value_heads or architecture.heads,
        intermediate_size=architecture.feed_forward,
        max_position_embeddings=POSITIONS,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=True,
    )
    return LlamaForCausalLM(config)
