"""`taskmix run --dry-run`: the bill, with nothing asked and nothing written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from taskmix.cli.bill import print_bill
from taskmix.config.load import load_config
from taskmix.config.plan import make_plan

TEXT = """\
name: asked
storage: {storage}
datasets:
  words: {{format: generated, train: 60, dev: 20, test: 50}}
tasks:
  intent: {{type: classification, dataset: words, label: intent}}
  slots: {{type: slot_filling, dataset: words, annotation: slots}}
models:
  svm: {{kind: linear}}
  gpt:
    kind: api
    base_url: http://127.0.0.1:9/v1
    model: gpt-test
    shots: 3
    key_env: A_KEY_THAT_IS_NOT_SET
    usd_per_million_tokens: {{input: 1000, output: 2000}}
    prices_as_of: 2024-12-01
    spending_limit_usd: 12.5
"""


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    path = tmp_path / "asked.yaml"
    path.write_text(TEXT.format(storage=tmp_path / "runs"))
    return path


def test_bill_names_requests_tokens_and_money(
    config_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    print_bill(make_plan(load_config(config_file)))
    shown = capsys.readouterr().out
    (line,) = (line.split() for line in shown.splitlines() if line.strip().startswith("gpt [intent+slots]"))
    requests, paid, tokens_in, tokens_out, usd, most, limit = (float(cell.replace(",", "")) for cell in line[2:])
    assert 90 <= requests <= 100, "50 texts asked two tasks; a text that stands twice is asked once"
    assert (paid, limit) == (0, 12.5)
    assert usd == pytest.approx((tokens_in * 1000 + tokens_out * 2000) / 1e6, abs=0.01)
    assert usd < most
    assert "as of 2024-12-01" in shown
    assert "2 further jobs run on own hardware" in shown
    assert not (tmp_path / "runs").exists(), "nothing is written"


def test_dry_run_is_an_option_of_run_and_of_a_plan_without_an_api_says_so(config_file: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "taskmix", "-q", "run", str(config_file), "--dry-run"]
    done = subprocess.run([*command, "--set", "systems=[svm/single]"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "nothing is asked of an API: 2 jobs run on own hardware" in done.stdout
    assert not (tmp_path / "runs").exists()
