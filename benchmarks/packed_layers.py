"""The linear layers of a small encoder as torch lays them out and as predictions do, by rows of input.

    OMP_NUM_THREADS=1 .venv/bin/python benchmarks/packed_layers.py [--passes 40]

The 36 layers of MiniLM-L6 with random weights (speed does not depend on them), each on its own input, the two in turns;
rows are the tokens of all texts of a batch. Under a minute.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from taskmix.modeling.packed_layers import packed

LAYERS = [(384, 384)] * 24 + [(384, 1536)] * 6 + [(1536, 384)] * 6
"""Features in and out: queries, keys, values and outputs of attention, and the two halves of each feed-forward."""


def pass_ms(layers: list[nn.Module], inputs: list[torch.Tensor]) -> float:
    """Milliseconds of the processor for every layer once."""
    started = time.process_time()
    for layer, rows_BTD in zip(layers, inputs, strict=True):
        layer(rows_BTD)
    return 1000 * (time.process_time() - started)


@torch.inference_mode()
def compare(rows: int, dtype: torch.dtype, *, passes: int) -> tuple[float, float, float]:
    """Median milliseconds of a pass with torch's layout and with ours, and the largest relative difference."""
    torch.manual_seed(13)
    plain = [nn.Linear(*shape, dtype=dtype) for shape in LAYERS]
    ours = [packed(copy.deepcopy(layer)) for layer in plain]
    inputs = [torch.randn(1, rows, width, dtype=dtype) for width, _ in LAYERS]
    taken: dict[str, list[float]] = {"plain": [], "ours": []}
    for _ in range(passes):
        taken["plain"].append(pass_ms(list(plain), inputs))
        taken["ours"].append(pass_ms(ours, inputs))
    differences = [
        float((one(rows_BTD) - other(rows_BTD)).abs().max() / one(rows_BTD).abs().max())
        for one, other, rows_BTD in zip(plain, ours, inputs, strict=True)
    ]
    return statistics.median(taken["plain"]), statistics.median(taken["ours"]), max(differences)


def main() -> None:
    """Print one row a precision and number of rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passes", type=int, default=40, help="of each way")
    asked = parser.parse_args()
    table = Table(title=f"{torch.get_num_threads()} thread(s); milliseconds of the processor for 36 layers")
    for heading in ("precision", "rows", "torch's layout", "ours", "ratio", "difference"):
        table.add_column(heading, justify="right")
    for dtype in (torch.float32, torch.bfloat16):
        for rows in (9, 14, 112, 448):
            plain, ours, difference = compare(rows, dtype, passes=asked.passes)
            name = str(dtype).removeprefix("torch.")
            table.add_row(name, str(rows), f"{plain:.2f}", f"{ours:.2f}", f"{ours / plain:.2f}", f"{difference:.0e}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
