"""How long a job and a system take: one text at a time, and all at once.

A text is asked the tasks of its own dataset. A job is timed on a drawing of the dataset's test texts that is the same
for every job. A system's time for a text is the SUM of its jobs' times for that same text, since the text must pass
through each job that answers one of its tasks, one after another on one machine; its median and 99th percentile are
taken of these sums. Likewise its throughput: the seconds a text costs add up.
"""

from __future__ import annotations

import os
import platform
import sys
import time
import zlib
from collections.abc import Callable, Sequence

import numpy as np

from taskmix.data.dataset import Row
from taskmix.evaluation.scorecard import Speed, SystemSpeed
from taskmix.modeling.answers import Answer, Consultant, Model

WARM_UP_TEXTS = 10
"""Answered before the clock starts: first calls allocate and compile. Arbitrary; later calls were steady."""
Clock = Callable[[], float]


def measure_speed(
    model: Model,
    *,
    dataset: str,
    tasks: Sequence[str],
    rows: Sequence[Row],
    texts: int,
    seed: int,
    clock: Clock = time.perf_counter,
) -> tuple[Speed, list[dict[str, Answer]]]:
    """Time a job on one dataset's test split.

    Args:
        model: the job, loaded.
        dataset: its name; with `seed` it decides which texts are timed.
        tasks: the job's tasks of the dataset.
        rows: the test split, at least one row.
        texts: how many to time alone, at most.
        seed: of the drawing.
        clock: seconds, rising.

    Returns:
        The times, and the answers to all `rows` (of the timed pass over all of them).
    """
    if isinstance(model, Consultant):
        return _measure_consultant(model, dataset=dataset, tasks=tasks, rows=rows, texts=texts, seed=seed)
    chosen = _drawn(rows, dataset=dataset, texts=texts, seed=seed)
    warm_up = chosen[:WARM_UP_TEXTS]
    for row in warm_up:
        model.predict([row.text], tasks=tasks)
    milliseconds = {}
    for row in chosen:
        start = clock()
        model.predict([row.text], tasks=tasks)
        milliseconds[row.id] = round((clock() - start) * 1000, 4)
    start = clock()
    answers = model.predict([row.text for row in rows], tasks=tasks)
    seconds = max(clock() - start, 1e-9)
    p50, p99 = _percentiles(list(milliseconds.values()))
    speed = Speed(
        dataset=dataset,
        tasks=tuple(tasks),
        warm_up_texts=len(warm_up),
        milliseconds=milliseconds,
        p50_ms=p50,
        p99_ms=p99,
        texts_per_s=round(len(rows) / seconds, 3),
    )
    return speed, answers


def _drawn(rows: Sequence[Row], *, dataset: str, texts: int, seed: int) -> list[Row]:
    """The rows that are timed alone."""
    generator = np.random.default_rng([seed, zlib.crc32(dataset.encode())])
    return [rows[index] for index in generator.permutation(len(rows))[:texts]]


def _measure_consultant(
    model: Consultant, *, dataset: str, tasks: Sequence[str], rows: Sequence[Row], texts: int, seed: int
) -> tuple[Speed, list[dict[str, Answer]]]:
    """The same of a model that is asked elsewhere at a price: no text is asked twice for the sake of a time.

    A text's time is that of its requests when they were asked: of those drawn, alone. Throughput follows from the time
    that requests take and how many are in flight (Little's law), so that an evaluation that goes on from answers on
    storage tells what one in a single go would.
    """
    chosen = _drawn(rows, dataset=dataset, texts=texts, seed=seed)
    alone = {row.id: model.consult([row.text], tasks=tasks)[0] for row in chosen}
    milliseconds = {row_id: round(each.seconds * 1000, 4) for row_id, each in alone.items()}
    consulted = model.consult([row.text for row in rows], tasks=tasks)
    p50, p99 = _percentiles(list(milliseconds.values()))
    seconds = max(sum(each.busy_seconds for each in consulted) / model.concurrency, 1e-9)
    speed = Speed(
        dataset=dataset,
        tasks=tuple(tasks),
        warm_up_texts=0,
        milliseconds=milliseconds,
        p50_ms=p50,
        p99_ms=p99,
        texts_per_s=round(len(rows) / seconds, 3),
        usd_per_text=sum(each.usd for each in consulted) / len(rows),
    )
    return speed, [each.answers for each in consulted]


def add_up(jobs: Sequence[Speed]) -> SystemSpeed:
    """The speed on one dataset of a system whose jobs there are these.

    Only texts that were timed for every job count; where the jobs share none (they were evaluated with different
    settings), the jobs' own percentiles are added up, which overstates the 99th.
    """
    shared = set.intersection(*(set(job.milliseconds) for job in jobs))
    if shared:
        p50, p99 = _percentiles([sum(job.milliseconds[text] for job in jobs) for text in sorted(shared)])
    else:
        p50, p99 = sum(job.p50_ms for job in jobs), sum(job.p99_ms for job in jobs)
    seconds_per_text = sum(1 / job.texts_per_s for job in jobs)
    usd = [job.usd_per_text for job in jobs if job.usd_per_text is not None]
    return SystemSpeed(p50_ms=p50, p99_ms=p99, texts_per_s=1 / seconds_per_text, usd_per_text=sum(usd) if usd else None)


def over_datasets(speeds: Sequence[SystemSpeed]) -> SystemSpeed:
    """One figure for a system that answers several datasets: the mean time of a text, every dataset counted alike."""
    seconds_per_text = float(np.mean([1 / speed.texts_per_s for speed in speeds]))
    usd = [speed.usd_per_text for speed in speeds if speed.usd_per_text is not None]
    return SystemSpeed(
        p50_ms=float(np.mean([speed.p50_ms for speed in speeds])),
        p99_ms=float(np.mean([speed.p99_ms for speed in speeds])),
        texts_per_s=1 / seconds_per_text,
        usd_per_text=float(np.mean(usd)) if usd else None,
    )


def describe_machine() -> dict[str, str]:
    """What the times were taken on, as far as the standard library tells."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {"system": platform.system(), "processor": _processor(), "cores": str(cores), "device": _device()}


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
            return next(names, platform.machine())
    except OSError:
        return platform.machine()


def _device() -> str:
    torch = sys.modules.get("torch")  # a model that has not imported it runs on the processor
    return str(torch.cuda.get_device_name()) if torch is not None and torch.cuda.is_available() else "cpu"


def _percentiles(milliseconds: Sequence[float]) -> tuple[float, float]:
    p50, p99 = np.quantile(milliseconds, [0.5, 0.99])
    return float(p50), float(p99)
