from pathlib import Path

import pytest

from taskmix.modeling.cores import usable_cores


@pytest.fixture(autouse=True)
def _no_wish(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


def test_a_containers_quota_bounds_the_cores(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("50000 100000\n")

    assert usable_cores(cgroup=tmp_path) == 1


def test_the_older_form_of_a_quota_is_read_too(tmp_path: Path) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text("20000\n")
    (tmp_path / "cpu/cpu.cfs_period_us").write_text("100000\n")

    assert usable_cores(cgroup=tmp_path) == 1


@pytest.mark.parametrize("content", ["max 100000\n", "nonsense"])
def test_without_a_quota_the_processes_own_cores_count(tmp_path: Path, content: str) -> None:
    (tmp_path / "cpu.max").write_text(content)

    assert usable_cores(cgroup=tmp_path) >= 1


def test_what_the_user_says_counts_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")

    assert usable_cores(cgroup=tmp_path) == 3
