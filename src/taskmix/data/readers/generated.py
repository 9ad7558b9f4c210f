"""Data that taskmix writes itself, from the grammar in this package: for the quickstart, with nothing to download."""

from __future__ import annotations

from taskmix.config.schema import GeneratedDataset
from taskmix.data.grammar import load_grammar, write_examples
from taskmix.data.records import Record, Records
from taskmix.data.schema import SPLITS, Split

LICENCE = "Apache-2.0"


def read_generated(config: GeneratedDataset, *, seed: int) -> Records:
    """Yield generated utterances with the columns `intent`, `topic` and `slots` (text with `[slot : words]`)."""
    sizes: dict[Split, int] = {"train": config.train, "dev": config.dev, "test": config.test}
    examples = write_examples(load_grammar(), sizes=sizes, noise=config.noise, seed=seed)
    for split in SPLITS:
        for number, example in enumerate(examples[split], start=1):
            columns = {"intent": example.intent, "topic": example.topic, "slots": example.annotated}
            yield Record(split, f"generated {split} row {number}", f"{split}/{number}", example.text, columns)
