"""The decoder that answers in text: a causal language model with its prompts, an implementation of `answers.Model`.

What the model says comes first as `Raw`: scores of labels, or spans with log-probabilities. Training fits temperatures
on the raw answers to dev (`training.decoder_dev`); prediction divides by them. `PromptAnswerer` gives raw answers, and
is what training asks while it trains; `Decoder` is the loaded bundle.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from taskmix.config import schema
from taskmix.errors import BundleError
from taskmix.modeling.answers import Answer, Model, TaskHead, known_tasks
from taskmix.modeling.bundle import BundleCard
from taskmix.modeling.classifier import as_encoder_card
from taskmix.modeling.encoder import load_encoder, pick_device
from taskmix.modeling.label_trie import exact_scores, greedy_scores
from taskmix.modeling.prompt_tokens import Asked, PromptTokens
from taskmix.modeling.prompts import PromptSet, TaskPrompt, read_prompts, write_prompts
from taskmix.modeling.raw_answers import Raw, RawLabel, RawSpans, calibrated, read_written
from taskmix.modeling.reading import Reading
from taskmix.modeling.sections import AskedPrompt, LabelSection, Section
from taskmix.modeling.tokens import batches_by_length, load_tokenizer
from taskmix.modeling.writing import WrittenSlots, write_freely, write_slots

TOKENS_PER_FORWARD = 4096
"""Budget of reading a batch of prompts, what they share not counted. Arbitrary; answers do not depend on it."""
FREE_TOKENS = 16
"""A free answer may be so much longer than the text (or the longest label) before it is cut. Arbitrary."""


class PromptAnswerer:
    """Raw answers of a causal language model.

    Holds what prompts begin with, read: make a new one when the model's weights have changed.

    Args:
        module: the model, in evaluation mode, its attention `sdpa` or `eager`.
        tokenizer: its own.
        prompts: of the job, with their examples.
        heads: of the job's tasks.
        settings: how to ask and to answer.
    """

    def __init__(
        self,
        module: Any,
        *,
        tokenizer: Any,
        prompts: PromptSet,
        heads: Mapping[str, TaskHead],
        settings: schema.DecoderModel,
    ) -> None:
        self.heads = heads
        self.asker = PromptTokens(
            tokenizer,
            prompts=prompts,
            max_tokens=settings.recipe.max_tokens,
            chat=settings.chat,
            tuned=settings.tuning != "none",
        )
        self._module = module
        self._settings = settings
        self._asked = {
            prompt.tasks: AskedPrompt(module, prompt=prompt, heads=heads, asker=self.asker)
            for prompt in prompts.prompts
        }

    def answer(self, texts: Sequence[str], *, tasks: Sequence[str]) -> list[dict[str, Raw]]:
        """The raw answers to `tasks` of each text, in the order given."""
        answers: list[dict[str, Raw]] = [{} for _ in texts]
        for prompt in dict.fromkeys(self.asker.prompts.of(task).tasks for task in tasks):
            for into, found in zip(answers, self._ask(self._asked[prompt], texts), strict=True):
                into.update(found)
        return [{task: found[task] for task in tasks} for found in answers]

    def _ask(self, asked_prompt: AskedPrompt, texts: Sequence[str]) -> list[dict[str, Raw]]:
        asked = [self.asker.ask(asked_prompt.prompt, text) for text in texts]
        shared = asked_prompt.shared_tokens
        fitting = batches_by_length([len(each) - shared for each in asked], tokens_per_batch=TOKENS_PER_FORWARD)
        limit = asked_prompt.most_rows
        batches = [rows[start : start + limit] for rows in fitting for start in range(0, len(rows), limit)]
        answers: list[dict[str, Raw]] = [{} for _ in texts]
        for batch in batches:
            found = self._answer_batch(asked_prompt, [asked[index] for index in batch], [texts[i] for i in batch])
            for index, raw in zip(batch, found, strict=True):
                answers[index] = raw
        return answers

    @torch.inference_mode()
    def _answer_batch(
        self, asked_prompt: AskedPrompt, asked: Sequence[Asked], texts: Sequence[str]
    ) -> list[dict[str, Raw]]:
        reading = asked_prompt.read(asked)
        prompt = asked_prompt.prompt
        if not self._writes_freely(prompt):
            return self._choose(reading, asked_prompt.sections, asked)
        limits = [FREE_TOKENS + asked_prompt.longest_label + 2 * self._copied_tokens(each) for each in asked]
        written = write_freely(reading, end_ids=self.asker.style.end_ids, limits=limits)
        return [
            read_written(
                self.asker.tokenizer.decode(each.ids) if each.ended else "",
                log_probability=each.log_probability,
                prompt=prompt,
                heads=self.heads,
                text=text,
            )
            for each, text in zip(written, texts, strict=True)
        ]

    def _choose(self, reading: Reading, sections: Sequence[Section], asked: Sequence[Asked]) -> list[dict[str, Raw]]:
        """Answers that cannot be invalid, section by section."""
        answers: list[dict[str, Raw]] = [{} for _ in asked]
        for place, section in enumerate(sections):
            if isinstance(section, LabelSection):
                reading.advance([section.opening_ids] * len(asked))
                scores_BL = self._label_scores(reading, section)
                for answer, scores_L in zip(answers, scores_BL, strict=True):
                    answer[section.task] = RawLabel(scores_L)
                if place + 1 < len(sections):
                    reading.advance([section.label_ids[best] for best in scores_BL.argmax(axis=-1)])
                continue
            written = write_slots(reading, section.grammar, keys=[self.asker.word_keys(each.shown) for each in asked])
            for answer, each in zip(answers, written, strict=True):
                answer.update(_raw_spans(each, tasks=section.grammar.tasks))
        return answers

    def _label_scores(self, reading: Reading, section: LabelSection) -> Any:
        if self._settings.label_decoding == "greedy":
            return greedy_scores(reading.copy(), section.trie)
        return exact_scores(reading, section.trie, length_normalized=self._settings.length_normalized)

    def _writes_freely(self, prompt: TaskPrompt) -> bool:
        """Whether one of the prompt's tasks is answered freely, and then all of them, for they are one answer."""
        decoding = {"classification": self._settings.label_decoding, "slot_filling": self._settings.slot_decoding}
        return any(decoding[self.heads[task].type] == "free" for task in prompt.tasks)

    def _copied_tokens(self, asked: Asked) -> int:
        return sum(len(key) for key in self.asker.word_keys(asked.shown) if isinstance(key, tuple))


def _raw_spans(written: WrittenSlots, *, tasks: Sequence[str]) -> dict[str, Raw]:
    """Task to its spans."""
    pairs = list(zip(written.place.said, written.log_probabilities, strict=True))
    raw: dict[str, Raw] = {}
    for task in tasks:
        own = [(said.span, value) for said, value in pairs if said.task == task]
        raw[task] = RawSpans(tuple(span for span, _ in own), tuple(value for _, value in own))
    return raw


class Decoder:
    """A decoder's bundle, loaded: an implementation of `modeling.answers.Model`."""

    def __init__(self, answerer: PromptAnswerer, *, card: BundleCard) -> None:
        self.card = card
        self.heads: Mapping[str, TaskHead] = answerer.heads
        self._answerer = answerer

    def predict(self, texts: Sequence[str], *, tasks: Sequence[str] | None = None) -> list[dict[str, Answer]]:
        """Answer `tasks` (default: all) for each text; see `modeling.answers.Model`.

        Raises:
            UnknownTask: a task is not one of `heads`.
        """
        asked = known_tasks(tasks, heads=self.heads)
        temperatures = self.card.temperatures
        return [
            {
                task: calibrated(raw[task], head=self.heads[task], temperature=temperatures.get(task, 1.0))
                for task in asked
            }
            for raw in self._answerer.answer(texts, tasks=asked)
        ]


def save_decoder(module: Any, folder: Path, *, tokenizer: Any, prompts: PromptSet) -> None:
    """Write weights (safetensors, in parts where large), configuration, tokenizer and prompts; the card apart."""
    _quieten()
    module.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    write_prompts(prompts, folder)


def load_decoder(folder: Path, card: BundleCard, *, device: str = "auto") -> Model:
    """The decoder in `folder`, whichever its head.

    Raises:
        BundleError: a part is missing, or is not the card's.
    """
    settings = card.job.model
    assert isinstance(settings, schema.DecoderModel)
    if settings.head == "classifier":
        return load_encoder(folder, as_encoder_card(card), device=device)
    module = load_causal_model(folder, device=pick_device(device), precision=settings.recipe.precision)
    answerer = PromptAnswerer(
        module,
        tokenizer=load_tokenizer(folder),
        prompts=read_prompts(folder),
        heads=card.task_heads,
        settings=settings,
    )
    return Decoder(answerer, card=card)


def load_causal_model(folder: Path, *, device: torch.device, precision: str) -> nn.Module:
    """The causal language model in `folder`, for prediction: on one device, or over all GPUs where one is too small.

    Args:
        folder: safetensors and configuration.
        device: where it goes.
        precision: `fp32`, `bf16`, or `auto`: bf16 on a GPU, fp32 elsewhere.

    Raises:
        BundleError: transformers cannot load it, or tensors are missing.
    """
    from transformers import AutoModelForCausalLM

    _quieten()
    half = precision == "bf16" or (precision == "auto" and device.type == "cuda")
    spread = {"device_map": "auto"} if _needs_several(folder, device=device, bytes_each=2 if half else 4) else {}
    try:
        module, loaded = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=torch.bfloat16 if half else torch.float32,
            attn_implementation="sdpa",
            use_safetensors=True,
            output_loading_info=True,
            **spread,
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise BundleError(f"{folder}: transformers cannot load it as a causal language model: {error}") from None
    if missing := sorted(loaded["missing_keys"]):
        raise BundleError(
            f"{folder}: lacks {len(missing)} of the model's tensors, {missing[0]} among them; fetch it again"
        )
    loaded_module: nn.Module = module.eval() if spread else module.to(device).eval()
    return loaded_module


def _quieten() -> None:
    """No progress bars of transformers' own: they would break the lines of logs."""
    from transformers.utils import logging

    logging.disable_progress_bar()


def _needs_several(folder: Path, *, device: torch.device, bytes_each: int) -> bool:
    """Whether the weights are more than nine tenths of the GPU's memory, and there are further GPUs."""
    if device.type != "cuda" or torch.cuda.device_count() < 2:
        return False
    stored = sum(path.stat().st_size for path in folder.glob("*.safetensors")) / 2 * bytes_each
    return bool(stored > 0.9 * torch.cuda.get_device_properties(device).total_memory)
