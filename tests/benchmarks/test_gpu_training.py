from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_the_benchmark_of_training_runs_without_a_gpu_and_without_kfp(project_root: Path) -> None:
    code = (
        "import sys, runpy; sys.argv = ['gpu_training.py', '--tiny', '--tuning', 'full']\n"
        "runpy.run_path('benchmarks/gpu_training.py', run_name='__main__')\n"
        "assert not {'kfp', 'kserve'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=project_root, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "merged" in done.stdout
    assert "% of the rate" in done.stdout
