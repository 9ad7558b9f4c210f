"""Dynamic batching: one worker thread answers what is queued, together, and waits for no company.

A text that arrives alone is answered at once; those that arrive meanwhile share the next forward pass. There is no
timer: waiting for more would cost a lone caller, and a crowd queues by itself while the model works. Only a crowd that
was just answered together is given a moment to come back: the first of it would be answered alone otherwise, and all
others would wait for that.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace

from taskmix.errors import Overloaded, ServingError
from taskmix.serving.logs import place_of
from taskmix.serving.predictor import Instance, Prediction

log = logging.getLogger(__name__)

Predictions = list[Prediction]

GAPS_BEFORE_THE_FIRST = 10
"""Within so many gaps the first of a crowd is back, or none is waited for; all answers leave before. Arbitrary."""


@dataclass(frozen=True)
class Bounds:
    """How much is answered together, how much may wait, and how long. The numbers are arbitrary."""

    max_batch: int = 128
    """Texts that requests share in one call of the model; a request that has more is answered whole."""
    max_batch_characters: int = 128 * 1024
    """Characters that requests share in one call, so that short texts do not wait for a heap of long ones."""
    max_waiting: int = 4096
    """Texts that may wait; a request that would exceed it is refused."""
    max_waiting_characters: int = 64 * 2**20
    """Characters that may wait: what bounds the memory that they take."""
    max_wait_s: float = 30.0
    """A request whose turn comes later is refused instead of answered: who asked has given up by then."""
    max_batch_one_by_one: int = 8
    """Instead of `max_batch` where the model answers texts one by one."""
    return_gap_s: float = 0.002
    """How long a batch waits for the next of a crowd that was just answered together."""
    return_gap_share: float = 0.1
    """The same, as a part of what the crowd's answer took; the less of both counts."""

    def for_model(self, *, one_by_one: bool) -> Bounds:
        """These bounds, with small batches where texts share no forward pass.

        Answers of a batch leave together, so in a large one the first would wait for all; a small one is enough to
        share what a call costs besides the model, and not worth a wait.
        """
        if not one_by_one:
            return self
        return replace(self, max_batch=min(self.max_batch, self.max_batch_one_by_one), return_gap_s=0.0)


@dataclass(frozen=True)
class _Ticket:
    instances: tuple[Instance, ...]
    future: Future[Predictions]
    characters: int
    queued_at: float


@dataclass(frozen=True)
class _Crowd:
    """Requests that were answered together, most of which may soon ask again.

    Attributes:
        requests: how many.
        expected_by: when, by the monotonic clock, the first of them is back if any is.
        gap_s: how long each of the others is waited for after the one before.
    """

    requests: int = 0
    expected_by: float = 0.0
    gap_s: float = 0.0


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
        self._waiting_characters = 0
        self._thread = threading.Thread(target=self._work, name="predict", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the worker thread runs."""
        return self._thread.is_alive()

    @property
    def waiting(self) -> int:
        """Texts that wait for their turn."""
        return self._waiting

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
        ticket = _Ticket(instances, future, sum(len(instance.text) for instance in instances), time.monotonic())
        with self._lock:
            self._refuse_if_full(ticket)
            self._waiting += len(instances)
            self._waiting_characters += ticket.characters
        self._queue.put(ticket)
        return future

    def _refuse_if_full(self, ticket: _Ticket) -> None:
        """Refuse a request for which there is no room; the first in line is always taken."""
        bounds = self._bounds
        if self._waiting and (
            self._waiting + len(ticket.instances) > bounds.max_waiting
            or self._waiting_characters + ticket.characters > bounds.max_waiting_characters
        ):
            raise Overloaded(
                f"{self._waiting} texts of {self._waiting_characters} characters wait for an answer, the server lets "
                f"{bounds.max_waiting} of {bounds.max_waiting_characters} wait; ask again later, or serve more replicas"
            )

    def close(self, *, timeout_s: float | None = None) -> None:
        """Answer what is queued, then end the worker thread."""
        self._queue.put(None)
        self._thread.join(timeout_s)

    def _work(self) -> None:
        closing, crowd = False, _Crowd()
        while not closing:
            first = self._queue.get()
            if first is None:
                return
            batch, closing = self._drain(first, crowd)
            claimed = [ticket for ticket in batch if self._claim(ticket)]
            with self._lock:
                self._waiting -= sum(len(ticket.instances) for ticket in batch)
                self._waiting_characters -= sum(ticket.characters for ticket in batch)
            if claimed:
                crowd = self._settle(claimed)

    def _drain(self, first: _Ticket, crowd: _Crowd) -> tuple[list[_Ticket], bool]:
        """`first` and what else is queued, up to the size of a batch; and whether the end is queued behind it."""
        batch, size, characters = [first], len(first.instances), first.characters
        company = crowd.requests if time.monotonic() < crowd.expected_by else 0
        while size < self._bounds.max_batch and characters < self._bounds.max_batch_characters:
            wait_s = crowd.gap_s if len(batch) < company else 0.0
            try:
                ticket = self._queue.get(timeout=wait_s) if wait_s else self._queue.get_nowait()
            except queue.Empty:
                return batch, False
            if ticket is None:
                return batch, True
            batch.append(ticket)
            size += len(ticket.instances)
            characters += ticket.characters
        return batch, False

    def _claim(self, ticket: _Ticket) -> bool:
        """Whether a request is still to be answered: not cancelled, and not kept waiting for too long."""
        if not ticket.future.set_running_or_notify_cancel():
            return False
        waited_s = time.monotonic() - ticket.queued_at
        if waited_s <= self._bounds.max_wait_s:
            return True
        told = f"the request waited {waited_s:.0f} s for its turn, allowed are {self._bounds.max_wait_s:.0f} s"
        ticket.future.set_exception(Overloaded(f"{told}; ask again later, or serve more replicas"))
        return False

    def _settle(self, batch: Sequence[_Ticket]) -> _Crowd:
        """Answer a batch, and say who may come back."""
        began = time.monotonic()
        self._answer_all(batch)
        ended = time.monotonic()
        gap_s = min(self._bounds.return_gap_s, self._bounds.return_gap_share * (ended - began))
        return _Crowd(len(batch), ended + GAPS_BEFORE_THE_FIRST * gap_s, gap_s)

    def _answer_all(self, batch: Sequence[_Ticket]) -> None:
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
    fields = {"error": type(error).__name__, "at": place_of(error)}
    log.error("prediction failed error=%(error)s at=%(at)s", fields, extra={"fields": fields})
