"""How a training run shows its progress: a bar on a terminal, a plain line every few seconds elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

LINE_INTERVAL_S = 10.0
"""Seconds between plain lines: enough to see that it lives, few enough to read a log. Arbitrary."""


class ProgressReport(TrainerCallback):  # type: ignore[misc]  # transformers ships no types for callbacks
    """Loss, examples/s and time left of one job.

    Args:
        job: the job's name.
        examples_per_step: mean rows of one optimizer step.
    """

    def __init__(self, job: str, *, examples_per_step: float) -> None:
        self._job = job
        self._examples_per_step = examples_per_step
        self._bar: Progress | None = None
        self._task: Any = None
        self._started = self._last_line = time.monotonic()
        self._first_step = 0
        self._loss: float | None = None

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Start the clock, and the bar where somebody watches."""
        self._started = self._last_line = time.monotonic()
        self._first_step = state.global_step
        if state.is_world_process_zero and sys.stderr.isatty():
            self._bar = Progress(
                TextColumn(f"{self._job} {{task.description}}"),
                BarColumn(),
                TextColumn("{task.fields[told]}"),
                TimeRemainingColumn(),
            )
            self._task = self._bar.add_task("", total=state.max_steps, completed=state.global_step, told="")
            self._bar.start()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Remember the loss for the next line."""
        self._loss = (logs or {}).get("loss", self._loss)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Move the bar, or print a line when the last is old."""
        if not state.is_world_process_zero:
            return
        now = time.monotonic()
        steps_per_s = (state.global_step - self._first_step) / max(now - self._started, 1e-6)
        loss = "-" if self._loss is None else f"{self._loss:.4f}"
        told = f"loss {loss}  {steps_per_s * self._examples_per_step:,.0f} examples/s"
        if self._bar is not None:
            self._bar.update(self._task, completed=state.global_step, description=f"epoch {state.epoch:.1f}", told=told)
        elif now - self._last_line >= LINE_INTERVAL_S:
            self._last_line = now
            left_s = (state.max_steps - state.global_step) / max(steps_per_s, 1e-6)
            print(
                f"training {self._job}  epoch {state.epoch:.1f}/{args.num_train_epochs:g}  "
                f"step {state.global_step}/{state.max_steps}  {told}  {left_s:,.0f} s left",
                flush=True,
            )

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
