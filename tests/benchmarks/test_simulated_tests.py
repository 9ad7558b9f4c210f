"""The simulation of the statistics runs, and draws what it says it draws."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_the_simulation_prints_every_rate_with_its_error(project_root: Path):
    script = project_root / "benchmarks" / "simulated_tests.py"
    done = subprocess.run([sys.executable, script, "--trials", "4"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rates = [line for line in done.stdout.splitlines() if " trials)" in line]
    assert len(rates) == 25
    assert any("a loss of 3 points passes a margin of 1" in line and " 0.0%" in line for line in rates)


def test_the_documented_result_is_of_this_simulation(project_root: Path):
    page = (project_root / "docs" / "statistics.md").read_text()
    assert "python benchmarks/simulated_tests.py" in page
    assert page.count(" trials)") == 25
