"""How fast a decoder's answers come on a CPU: one pass over the labels' trie against scoring each label's string.

    python benchmarks/decoder_prediction.py                                # a Llama of 8 layers x 512, random weights
    python benchmarks/decoder_prediction.py --data en-US.jsonl --texts 20
    python benchmarks/decoder_prediction.py --layers 2 --texts 2 --prompt labels   # minutes, also on a busy machine

Texts, labels and slots are MASSIVE's (arXiv 2204.08582): 60 intents. Weights are random, since speed does not depend on
them. The ways are timed in turns, text by text, so that other load on the machine falls on all of them; the table gives
the median of each, and ratios. `exact` and `padded` read the whole prompt of their text; `exact_after_prefix`, `greedy`
and `generated` go on from what all prompts begin with (instruction, labels), read once beforehand, as `taskmix` does.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter

from taskmix.config.schema import DecoderArchitecture, TaskConfig
from taskmix.data.labels import parse_brackets
from taskmix.data.schema import LabelSpace
from taskmix.modeling.answers import TaskHead
from taskmix.modeling.label_trie import exact_scores, greedy_scores
from taskmix.modeling.prompt_tokens import PromptTokens
from taskmix.modeling.prompts import make_prompts
from taskmix.modeling.reading import Reading, read_prompts
from taskmix.modeling.sections import AskedPrompt, LabelSection, SlotSection
from taskmix.modeling.writing import write_freely, write_slots
from taskmix.training.decoder_scratch import scratch_decoder

DATA = Path(__file__).resolve().parents[2] / "shared/data/massive/en-US.jsonl"
ARCHITECTURE = DecoderArchitecture(layers=8, hidden=512, heads=8, feed_forward=1408, vocabulary=4000)
WARM_UP = 1


class Ways:
    """The ways to answer, over one model with random weights.

    Args:
        rows: MASSIVE's, as its file has them.
        header: of the prompts; null takes the standard one, with all labels.
        layers: of the model.
    """

    def __init__(self, rows: Sequence[dict[str, str]], *, header: str | None, layers: int) -> None:
        parse = TypeAdapter[TaskConfig](TaskConfig).validate_python
        shared = {"dataset": "massive", "prompt": {"header": header}}
        specs = {
            "intent": parse({"type": "classification", "label": "intent", **shared}),
            "slots": parse({"type": "slot_filling", "annotation": "annot_utt", **shared}),
        }
        intents = tuple(sorted({row["intent"] for row in rows}))
        slots = tuple(sorted({slot for row in rows for _, _, slot in parse_brackets(row["annot_utt"])[1]}))
        heads = {
            "intent": TaskHead("intent", "classification", LabelSpace(intents)),
            "slots": TaskHead("slots", "slot_filling", LabelSpace(slots)),
        }
        prompts = make_prompts(heads, specs=specs)
        torch.manual_seed(13)
        texts = [row["utt"] for row in rows]
        architecture = ARCHITECTURE.model_copy(update={"layers": layers})
        self.module, tokenizer = scratch_decoder(architecture, prompts=prompts, heads=heads, texts=texts)
        self.module.eval()
        self.asker = PromptTokens(tokenizer, prompts=prompts, max_tokens=1024, chat="off", tuned=True)
        self.asked = {
            task: AskedPrompt(self.module, prompt=prompts.of(task), heads=heads, asker=self.asker) for task in heads
        }
        (section,) = self.asked["intent"].sections
        (written,) = self.asked["slots"].sections
        assert isinstance(section, LabelSection)
        assert isinstance(written, SlotSection)
        self.labels, self.grammar = section, written.grammar

    def ids(self, text: str, *, task: str = "intent") -> Any:
        """The prompt's tokens."""
        return self.asker.ask(self.asked[task].prompt, text).ids

    def prompt_alone(self, text: str) -> None:
        """Read the prompt: what every way costs at least."""
        read_prompts(self.module, [self.ids(text)])

    def exact(self, text: str) -> Any:
        """Score all labels in one pass over their trie."""
        return exact_scores(read_prompts(self.module, [self.ids(text)]), self.labels.trie)

    def exact_after_prefix(self, text: str) -> Any:
        """The same, after the shared beginning."""
        return exact_scores(self.read(text), self.labels.trie)

    def read(self, text: str) -> Reading:
        """The prompt read, what all prompts begin with beforehand: as `taskmix` predicts."""
        return self.asked["intent"].read([self.asker.ask(self.asked["intent"].prompt, text)])

    def greedy(self, text: str) -> Any:
        """Walk the trie along the likeliest tokens, after the shared beginning."""
        return greedy_scores(self.read(text), self.labels.trie)

    @torch.inference_mode()
    def padded(self, text: str) -> Any:
        """Score all labels in one padded batch of prompt and label strings."""
        prompt, end = self.ids(text).tolist(), list(self.asker.style.end_ids)
        rows = [[*prompt, *label, *end] for label in self.labels.label_ids]
        width = max(map(len, rows))
        ids_BT = torch.tensor([row + [0] * (width - len(row)) for row in rows])
        mask_BT = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
        answer = width - len(prompt)  # logits of the answers' places alone, which is kind to this way
        logits_BAV = self.module(input_ids=ids_BT, attention_mask=mask_BT, logits_to_keep=answer + 1).logits.float()
        logp_BA = logits_BAV[:, :-1].log_softmax(-1).gather(-1, ids_BT[:, len(prompt) :, None])[..., 0]
        return (logp_BA * mask_BT[:, len(prompt) :]).sum(dim=1)[None].numpy()

    def generated(self, text: str) -> None:
        """Write as many tokens as the label has that the greedy walk answers, its end included; after the same."""
        best = int(self.greedy_scores[text].argmax())
        limit = len(self.labels.label_ids[best]) + len(self.asker.style.end_ids)
        write_freely(self.read(text), end_ids=self.asker.style.end_ids, limits=[limit])

    def slots(self, text: str) -> None:
        """Write slots under the grammar."""
        asked = self.asker.ask(self.asked["slots"].prompt, text)
        (written,) = write_slots(
            read_prompts(self.module, [asked.ids]), self.grammar, keys=[self.asker.word_keys(asked.shown)]
        )
        self.slot_tokens[text] = written.place.position

    def slots_freely(self, text: str) -> None:
        """Write as many tokens freely."""
        asked = self.asker.ask(self.asked["slots"].prompt, text)
        limits = [self.slot_tokens[text]]
        write_freely(read_prompts(self.module, [asked.ids]), end_ids=self.asker.style.end_ids, limits=limits)

    def prepare(self, texts: Sequence[str]) -> float:
        """Warm up; returns the largest difference between the exact pass and the padded batch."""
        self.slot_tokens: dict[str, int] = {}
        self.greedy_scores = {text: self.greedy(text) for text in texts}
        return max(float(abs(self.exact(text) - self.padded(text)).max()) for text in texts[:WARM_UP])


def time_in_turns(ways: Sequence[Callable[[str], Any]], texts: Sequence[str]) -> list[float]:
    """Median seconds of each way over `texts`."""
    seconds: list[list[float]] = [[] for _ in ways]
    for text in texts:
        for way, taken in zip(ways, seconds, strict=True):
            start = time.perf_counter()
            way(text)
            taken.append(time.perf_counter() - start)
    return [float(np.median(taken)) for taken in seconds]


def report(ways: Ways, texts: Sequence[str], *, title: str) -> None:
    """Time and print one table."""
    apart = ways.prepare(texts)
    timed = [
        ways.prompt_alone,
        ways.exact,
        ways.exact_after_prefix,
        ways.greedy,
        ways.padded,
        ways.generated,
        ways.slots,
        ways.slots_freely,
    ]
    medians = dict(zip([way.__name__ for way in timed], time_in_turns(timed, texts), strict=True))
    lengths = [len(ways.ids(text)) for text in texts]
    print(f"\n{title}: prompts of {float(np.median(lengths)):g} tokens (median), {len(ways.labels.label_ids)} labels,")
    print(
        f"{len(ways.labels.trie.tokens_K)} nodes in their trie; {len(texts)} texts, {torch.get_num_threads()} thread(s)"
    )
    tokens = np.mean([len(ids) + len(ways.asker.style.end_ids) for ids in ways.labels.label_ids])
    print(
        f"a label is {tokens:.1f} tokens with its end (mean); exact pass and padded batch differ by {apart:.1e} at most"
    )
    print(f"{'way':<20}{'ms':>9}{'x prompt':>10}")
    for name, median in medians.items():
        print(f"{name:<20}{median * 1000:>9.1f}{median / medians['prompt_alone']:>10.2f}")
    print(f"exact pass against padded batch: {medians['padded'] / medians['exact']:.1f}x faster")
    print(f"greedy walk against generating the label: {medians['generated'] / medians['greedy']:.2f}x faster")


def main() -> None:
    """Read the arguments, time both prompts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="MASSIVE's en-US.jsonl")
    parser.add_argument("--texts", type=int, default=12)
    parser.add_argument("--layers", type=int, default=ARCHITECTURE.layers)
    parser.add_argument("--prompt", choices=("instruction", "labels", "both"), default="both")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = [json.loads(line) for line in arguments.data.read_text(encoding="utf-8").splitlines()]
    texts = [row["utt"] for row in rows if row["partition"] == "test"][: arguments.texts]
    if arguments.prompt != "labels":
        ways = Ways(rows, header="{instruction}", layers=arguments.layers)
        report(ways, texts, title="Instruction alone in the prompt")
    if arguments.prompt != "instruction":
        ways = Ways(rows, header=None, layers=arguments.layers)
        report(ways, texts, title="Instruction and all labels in the prompt")


if __name__ == "__main__":
    main()
