"""A decoder with one linear head a task: trained by an encoder's code, loaded as a decoder's bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from taskmix.config.plan import JobSlice
from taskmix.data.dataset import Dataset
from taskmix.modeling.answers import ClassificationAnswer
from taskmix.modeling.bundle import load_model, read_card
from taskmix.modeling.tokens import last_subwords, tokenize
from taskmix.training.decoder_scratch import train_decoder_tokenizer
from taskmix.training.job import finetune

TASKS = {
    "intent": {"type": "classification", "dataset": "words", "label": "intent"},
    "slots": {"type": "slot_filling", "dataset": "words", "annotation": "slots"},
}


def test_words_are_tagged_where_a_forward_reader_has_read_them() -> None:
    tokenizer = train_decoder_tokenizer(["wake me"], vocabulary=262)
    (tokens,) = tokenize(["wake  me up"], tokenizer=tokenizer, max_tokens=40, pooling="last")
    whole = [tokenizer.decode(tokens.ids[: end + 1]) for end in tokens.word_starts]
    assert whole == ["<s>wake", "<s>wake  me", "<s>wake  me up"]
    (cut,) = tokenize(["wake  me up"], tokenizer=tokenizer, max_tokens=len(tokens) - 1, pooling="last")
    assert cut.word_starts.tolist() == [*tokens.word_starts[:2].tolist(), -1]
    assert last_subwords("ab", [(0, 1), (1, 2)]).tolist() == [1]
    assert len(tokenize([""], tokenizer=tokenizer, max_tokens=9, pooling="last")[0]) == 1


def test_a_merged_classifier_learns_and_answers_both_tasks(dataset_uri: str, dataset: Dataset, tmp_path: Path) -> None:
    architecture = {"layers": 2, "hidden": 48, "heads": 4, "key_value_heads": 2, "feed_forward": 96, "vocabulary": 600}
    recipe = {"epochs": 3, "learning_rate": 3e-3, "tokens_per_batch": 256, "max_tokens": 48, "precision": "fp32"}
    model = {"kind": "decoder", "architecture": architecture, "head": "classifier", "recipe": recipe}
    job = JobSlice.model_validate({"model_name": "tiny", "seed": 3, "model": model, "tasks": TASKS})
    bundle = Path(finetune(job, datasets=[dataset_uri], storage=str(tmp_path))) / "bundle"
    assert read_card(bundle).kind == "decoder"
    rows = dataset.rows("test")
    answers: list[Any] = load_model(bundle, device="cpu").predict([row.text for row in rows])
    losses = [epoch.loss or 0.0 for epoch in read_card(bundle).training.history]
    assert losses[-1] < 0.7 * losses[0], "both tasks are learnt by causal attention"
    assert len({answer["intent"].label for answer in answers}) > 1
    first = answers[0]["intent"]
    assert isinstance(first, ClassificationAnswer)
    assert np.isclose(first.probabilities.sum(), 1)
