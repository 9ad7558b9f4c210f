"""Plain attention against torch's fused attention in an encoder's training step on a CPU, by length of the texts.

    OMP_NUM_THREADS=1 .venv/bin/python benchmarks/encoder_training.py [--steps 5]

The size of MiniLM-L6, random weights (speed does not depend on them), bf16 where the CPU multiplies it, batches of
2,048 tokens with some padding. The two take turns, so that what else the machine does meets both; a minute or two.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import torch
from rich.console import Console
from rich.table import Table
from transformers import BertConfig, BertModel

from taskmix.training.loop import use_bf16

TOKENS = 2048
"""Of a batch: the budget of `configs/newsgroups.yaml`."""


def training_step(model: BertModel, ids_BT: torch.Tensor, mask_BT: torch.Tensor, half: bool) -> None:
    """A forward and a backward pass."""
    context: AbstractContextManager[object] = torch.autocast("cpu", dtype=torch.bfloat16) if half else nullcontext()
    with context:
        hidden_BTD = model(input_ids=ids_BT, attention_mask=mask_BT).last_hidden_state
    hidden_BTD.float().pow(2).mean().backward()
    model.zero_grad()


def seconds(work: Callable[[], None]) -> float:
    """Of the processor, for one call."""
    started = time.process_time()
    work()
    return time.process_time() - started


def steps(length: int, dropout: float, *, half: bool) -> dict[str, Callable[[], None]]:
    """The training step of each attention, on texts of `length` tokens of which every second is padded by an eighth."""
    torch.manual_seed(13)
    rows = max(1, TOKENS // length)
    ids_BT = torch.randint(1000, 20000, (rows, length))
    mask_BT = torch.ones_like(ids_BT)
    mask_BT[::2, length - length // 8 :] = 0
    found = {}
    for attention in ("sdpa", "eager"):
        config = BertConfig(
            hidden_size=384,
            num_hidden_layers=6,
            num_attention_heads=12,
            intermediate_size=1536,
            hidden_dropout_prob=dropout,
            attention_probs_dropout_prob=dropout,
            attn_implementation=attention,
        )
        model = BertModel(config, add_pooling_layer=False).train()
        found[attention] = partial(training_step, model, ids_BT, mask_BT, half)
    return found


def main() -> None:
    """Print one row a length and dropout."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=5, help="training steps of each, after one to warm up")
    asked = parser.parse_args()
    half = use_bf16("auto")
    table = Table(
        title=f"{torch.get_num_threads()} thread(s), {'bf16' if half else 'fp32'}; seconds of the processor a step"
    )
    for heading in ("tokens a text", "dropout", "fused (sdpa)", "plain (eager)", "plain / fused"):
        table.add_column(heading, justify="right")
    for length in (14, 64, 128, 170, 256, 512):
        for dropout in (0.0, 0.1):
            ways = steps(length, dropout, half=half)
            taken: dict[str, list[float]] = {name: [] for name in ways}
            for number in range(asked.steps + 1):
                for name, work in ways.items():
                    spent = seconds(work)
                    if number:
                        taken[name].append(spent)
            fused, plain = (statistics.median(taken[name]) for name in ("sdpa", "eager"))
            table.add_row(str(length), f"{dropout}", f"{fused:.2f}", f"{plain:.2f}", f"{plain / fused:.2f}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
