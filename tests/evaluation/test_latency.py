"""How long jobs and systems take, measured with a clock that the test moves."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
from predicted import INTENT, ROWS, given

from taskmix.evaluation.latency import add_up, measure_speed, over_datasets
from taskmix.evaluation.scorecard import SystemSpeed
from taskmix.modeling.answers import Consulted


class Ticking:
    """A clock that moves only when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Slow:
    """Takes a second a character."""

    heads: ClassVar = {"intent": INTENT}

    def __init__(self, clock: Ticking, *, factor: float = 1.0) -> None:
        self.clock, self.factor, self.asked = clock, factor, []

    def predict(self, texts, *, tasks=None):
        self.asked.append(list(texts))
        self.clock.now += self.factor * sum(map(len, texts))
        return [{"intent": given("on")} for _ in texts]


def timed(*, factor: float, texts: int = 3, seed: int = 1):
    clock = Ticking()
    model = Slow(clock, factor=factor)
    speed, answers = measure_speed(model, dataset="d", tasks=["intent"], rows=ROWS, texts=texts, seed=seed, clock=clock)
    return speed, answers, model


def test_each_text_is_timed_alone_after_a_warm_up():
    speed, answers, model = timed(factor=0.001)
    lengths = {row.id: len(row.text) for row in ROWS}
    assert speed.milliseconds == {row: lengths[row] for row in speed.milliseconds}
    assert len(speed.milliseconds) == speed.warm_up_texts == 3
    assert [len(texts) for texts in model.asked] == [1] * 6 + [4]
    assert len(answers) == 4
    assert speed.texts_per_s == pytest.approx(4 / (0.001 * sum(lengths.values())), rel=1e-3)


def test_a_systems_time_is_the_sum_of_its_jobs_times_for_the_same_text():
    slow, quick = timed(factor=0.003)[0], timed(factor=0.001)[0]
    both = add_up([slow, quick])
    assert list(slow.milliseconds) == list(quick.milliseconds)
    sums = [slow.milliseconds[text] + quick.milliseconds[text] for text in slow.milliseconds]
    assert both.p50_ms == pytest.approx(np.median(sums))
    assert both.p99_ms == pytest.approx(np.quantile(sums, 0.99))
    assert 1 / both.texts_per_s == pytest.approx(1 / slow.texts_per_s + 1 / quick.texts_per_s)


def test_over_several_datasets_the_times_are_averaged():
    one = SystemSpeed(p50_ms=2, p99_ms=4, texts_per_s=100)
    other = SystemSpeed(p50_ms=6, p99_ms=8, texts_per_s=50)
    found = over_datasets([one, other])
    assert (found.p50_ms, found.p99_ms) == (4, 6)
    assert found.texts_per_s == pytest.approx(1 / 0.015)


def test_jobs_that_were_timed_on_no_shared_text_have_their_percentiles_added():
    jobs = [timed(factor=0.001, texts=1, seed=seed)[0] for seed in range(20)]
    first = jobs[0]
    other = next(job for job in jobs if not set(job.milliseconds) & set(first.milliseconds))
    assert add_up([first, other]).p99_ms == pytest.approx(first.p99_ms + other.p99_ms)


class Oracle:
    """Asked elsewhere: a text took a millisecond a character when it was asked, and costs a cent a character."""

    heads: ClassVar = {"intent": INTENT}
    concurrency = 4

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def consult(self, texts, *, tasks=None):
        self.asked.append(list(texts))
        return [
            Consulted({"intent": given("on")}, len(text) / 1000, 2 * len(text) / 1000, len(text) / 100)
            for text in texts
        ]

    def predict(self, texts, *, tasks=None):
        return [each.answers for each in self.consult(texts, tasks=tasks)]

    def receipt(self):
        raise NotImplementedError


def test_time_of_a_model_that_is_asked_elsewhere_is_what_its_requests_took():
    model = Oracle()
    speed, answers = measure_speed(model, dataset="d", tasks=["intent"], rows=ROWS, texts=3, seed=1)
    lengths = {row.id: len(row.text) for row in ROWS}
    assert speed.milliseconds == {row: lengths[row] for row in speed.milliseconds}
    assert [len(texts) for texts in model.asked] == [1, 1, 1, 4], "no warm-up is paid for"
    assert len(answers) == 4
    mean = sum(lengths.values()) / 4
    assert speed.texts_per_s == pytest.approx(4 / (2 * mean / 1000), rel=1e-3), "four in flight, two requests a text"
    assert speed.usd_per_text == pytest.approx(mean / 100)
    both = add_up([speed, timed(factor=0.001)[0]])
    assert both.usd_per_text == speed.usd_per_text
    assert over_datasets([both, both]).usd_per_text == pytest.approx(speed.usd_per_text)
