from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SHAPES = {"llama-3-8b": 2 * 128_256 * 32, "roberta-large": 50_265 * 32}
"""Weights of the embeddings alone: the true vocabularies, 32 wide, and a Llama's output layer is another matrix."""


def test_the_benchmark_of_training_runs_without_a_gpu_and_without_kfp(project_root: Path) -> None:
    code = (
        "import sys, runpy; sys.argv = ['gpu_training.py', '--tiny', '--tuning', 'full']\n"
        "runpy.run_path('benchmarks/gpu_training.py', run_name='__main__')\n"
        "assert not {'kfp', 'kserve'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=project_root, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    rows = [[cell.strip() for cell in line.split("│")[1:]] for line in done.stdout.splitlines() if line[:1] == "│"]
    jobs = {(shape, tasks): float(millions) for shape, _, _, tasks, millions, *_ in rows if shape}
    assert [*jobs] == [(shape, tasks) for shape in SHAPES for tasks in ("intent", "intent+slots")]
    for (shape, _), millions in jobs.items():
        assert millions >= round(SHAPES[shape] / 1e6, 1)
