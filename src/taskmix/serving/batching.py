"""Dynamic batching: one worker thread answers what is queued, together, and waits for no company.

A text that arrives alone is answered at once; those that arrive meanwhile share the next forward pass. There is no
timer: waiting for more would cost a lone caller, and a crowd queues by itself while the model works.
"""

from __future__ import annotations

import logging
import queue
import threading
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from taskmix.errors import Overloaded, ServingError
from taskmix.serving.predictor import Instance, Prediction

log = logging.getLogger(__name__)

Predictions = list[Prediction]


@dataclass(frozen=True)
class Bounds:
    """How much is answered together and how much may wait. The numbers are arbitrary."""

    max_batch: int = 128
    """Texts that requests share in one call of the model; a request that has more is answered whole."""
    max_waiting: int = 4096
    """Texts that may wait; a request that would exceed it is refused."""


@dataclass(frozen=True)
class _Ticket:
    instances: tuple[Instance, ...]
    future: Future[Predictions]


class Batcher:
    """A queue in front of a model, with the one thread that uses the model.

    Args:
        answer: the model: instances in, one prediction each out; called from the worker thread only.
        bounds: of the queue and of a batch.
    """

    def __init__(self, answer: Callable[[Sequence[Instance]], Predictions], *, bounds: Bounds | None = None) -> None:
        self._answer = answer
        self._bounds = bounds or Bounds()
        self._queue: queue.SimpleQueue[_Ticket | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._waiting = 0
        self._thread = threading.Thread(target=self._work, name="predict", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the worker thread runs."""
        return self._thread.is_alive()

    def submit(self, instances: tuple[Instance, ...]) -> Future[Predictions]:
        """Queue instances to be answered, one prediction each in the same order.

        Returns:
            A future; cancelling it before its turn spares the model the work. It fails with ServingError, naming the
            instance, only if the model fails on one of these, whatever its neighbours do.

        Raises:
            Overloaded: too many texts wait.
        """
        future: Future[Predictions] = Future()
        if not instances:
            future.set_result([])
            return future
        with self._lock:
            if self._waiting and self._waiting + len(instances) > self._bounds.max_waiting:
                raise Overloaded(
                    f"{self._waiting} texts wait for an answer, the server lets {self._bounds.max_waiting} wait; "
                    "ask again later, or serve more replicas"
                )
            self._waiting += len(instances)
        self._queue.put(_Ticket(instances, future))
        return future

    def close(self, *, timeout_s: float | None = None) -> None:
        """Answer what is queued, then end the worker thread."""
        self._queue.put(None)
        self._thread.join(timeout_s)

    def _work(self) -> None:
        closing = False
        while not closing:
            first = self._queue.get()
            if first is None:
                return
            batch, closing = self._drain(first)
            claimed = [ticket for ticket in batch if ticket.future.set_running_or_notify_cancel()]
            with self._lock:
                self._waiting -= sum(len(ticket.instances) for ticket in batch)
            if claimed:
                self._settle(claimed)

    def _drain(self, first: _Ticket) -> tuple[list[_Ticket], bool]:
        """`first` and what else is queued, up to the size of a batch; and whether the end is queued behind it."""
        batch, size = [first], len(first.instances)
        while size < self._bounds.max_batch:
            try:
                ticket = self._queue.get_nowait()
            except queue.Empty:
                return batch, False
            if ticket is None:
                return batch, True
            batch.append(ticket)
            size += len(ticket.instances)
        return batch, False

    def _settle(self, batch: Sequence[_Ticket]) -> None:
        """Answer a batch; if the model fails on it, each request alone, so that only the guilty one fails."""
        try:
            predictions = self._answer([instance for ticket in batch for instance in ticket.instances])
        except Exception as error:
            _log_without_texts(error)
            for ticket in batch:
                self._settle_alone(ticket)
            return
        done = 0
        for ticket in batch:
            ticket.future.set_result(predictions[done : done + len(ticket.instances)])
            done += len(ticket.instances)

    def _settle_alone(self, ticket: _Ticket) -> None:
        predictions: Predictions = []
        failed = []
        for index, instance in enumerate(ticket.instances):
            try:
                predictions += self._answer([instance])
            except Exception as error:
                _log_without_texts(error)
                failed.append(f"instances[{index}]")
        if failed:
            told = f"{', '.join(failed)}: the model failed on it, a fault of the server's; see its log"
            ticket.future.set_exception(ServingError(told))
        else:
            ticket.future.set_result(predictions)


def _log_without_texts(error: Exception) -> None:
    """Tell type and place of a failure; its message is left out, since it may quote a user's text."""
    frames = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)]
    log.error("prediction failed error=%s at=%s", type(error).__name__, " < ".join(reversed(frames[-5:])))
