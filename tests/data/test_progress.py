from collections.abc import Iterator

import pytest

from taskmix.data.progress import show_progress


def test_progress_changes_nothing_and_is_quiet_for_short_reads(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(show_progress(range(1200), title="reading tickets")) == list(range(1200))
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


def test_progress_passes_on_the_readers_error() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise ValueError("line 2")

    with pytest.raises(ValueError, match="line 2"):
        list(show_progress(broken(), title="reading tickets"))
