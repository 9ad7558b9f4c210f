import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, wait

import pytest

from taskmix.errors import Overloaded, ServingError
from taskmix.serving.batching import Batcher, Bounds
from taskmix.serving.predictor import Instance, Prediction


class Gated:
    """A model that starts to answer when it is let; it fails on the text `bad`."""

    def __init__(self) -> None:
        self.let = threading.Event()
        self.entered = threading.Event()
        self.batches: list[list[str]] = []

    def __call__(self, instances: Sequence[Instance]) -> list[Prediction]:
        self.entered.set()
        assert self.let.wait(10)
        texts = [instance.text for instance in instances]
        self.batches.append(texts)
        if "bad" in texts:
            raise ValueError("bad")
        return [{"echo": text} for text in texts]


def asking(*texts: str) -> tuple[Instance, ...]:
    return tuple(Instance(text, ("echo",)) for text in texts)


@pytest.fixture
def model() -> Gated:
    return Gated()


@pytest.fixture
def batcher(model: Gated) -> Iterator[Batcher]:
    batcher = Batcher(model, bounds=Bounds(max_batch=4, max_waiting=6))
    yield batcher
    model.let.set()
    batcher.close(timeout_s=10)
    assert not batcher.alive


def first_in_work(batcher: Batcher, model: Gated) -> Future[list[Prediction]]:
    """A request that the worker has in hand, so that all later ones queue."""
    future = batcher.submit(asking("first"))
    assert model.entered.wait(10)
    return future


def test_a_model_that_answers_one_by_one_gets_small_batches_so_that_nobody_waits_for_all(model: Gated) -> None:
    bounds = Bounds(max_batch_one_by_one=2)
    batcher = Batcher(model, bounds=bounds.for_model(one_by_one=True))
    futures = [first_in_work(batcher, model), *(batcher.submit(asking(text)) for text in "abc")]
    model.let.set()
    assert not wait(futures, 10).not_done
    batcher.close(timeout_s=10)
    assert model.batches == [["first"], ["a", "b"], ["c"]]
    assert bounds.for_model(one_by_one=False) == bounds


def test_what_queues_while_the_model_works_shares_the_next_call(batcher: Batcher, model: Gated) -> None:
    futures = [first_in_work(batcher, model), *(batcher.submit(asking(text)) for text in "abc")]
    model.let.set()

    assert [future.result(10) for future in futures] == [[{"echo": text}] for text in ("first", *"abc")]
    assert model.batches == [["first"], ["a", "b", "c"]]


PATIENT = Bounds(return_gap_s=10, return_gap_share=1e9)
"""Waits for a crowd until it is back, or longer than the tests do."""


def test_a_crowd_that_was_answered_together_is_given_a_moment_to_come_back_together(model: Gated) -> None:
    batcher = Batcher(model, bounds=PATIENT)
    futures = [first_in_work(batcher, model), *(batcher.submit(asking(text)) for text in "abc")]
    model.let.set()
    assert not wait(futures, 5).not_done

    back = [batcher.submit(asking("d"))]
    time.sleep(0.02)  # long enough for the worker to answer it alone, were it not to wait
    back += [batcher.submit(asking(text)) for text in "ef"]

    assert not wait(back, 5).not_done
    assert model.batches == [["first"], ["a", "b", "c"], ["d", "e", "f"]]
    batcher.submit(asking("g"))  # two short of a crowd: answered at once only because the server stops
    batcher.close(timeout_s=5)
    assert model.batches[-1] == ["g"]


def test_who_calls_alone_is_never_kept_waiting_for_company(model: Gated) -> None:
    batcher = Batcher(model, bounds=PATIENT)
    model.let.set()
    assert [batcher.submit(asking(text)).result(5) for text in "ab"] == [[{"echo": "a"}], [{"echo": "b"}]]
    batcher.close(timeout_s=5)


def test_a_crowd_that_does_not_come_back_is_waited_for_no_longer_than_a_moment(model: Gated) -> None:
    batcher = Batcher(model, bounds=Bounds(return_gap_s=0.01))
    futures = [first_in_work(batcher, model), *(batcher.submit(asking(text)) for text in "abc")]
    model.let.set()
    assert not wait(futures, 5).not_done
    assert batcher.submit(asking("alone")).result(5) == [{"echo": "alone"}]
    batcher.close(timeout_s=5)


def test_a_batch_ends_at_its_bound_and_a_request_is_never_torn(batcher: Batcher, model: Gated) -> None:
    futures = [first_in_work(batcher, model), batcher.submit(asking(*"abcde")), batcher.submit(asking("f"))]
    model.let.set()

    wait(futures, 10)
    assert model.batches == [["first"], ["a", "b", "c", "d", "e"], ["f"]]


def test_one_bad_instance_fails_alone(batcher: Batcher, model: Gated) -> None:
    futures = [first_in_work(batcher, model)]
    futures += [batcher.submit(asking("a")), batcher.submit(asking("b", "bad")), batcher.submit(asking("c"))]
    model.let.set()

    with pytest.raises(ServingError, match=r"^instances\[1\]: the model failed on it, a fault of the server's"):
        futures[2].result(10)
    assert futures[1].result(10) == [{"echo": "a"}]
    assert futures[3].result(10) == [{"echo": "c"}]
    assert batcher.alive


def test_a_full_queue_refuses_and_takes_again_when_it_has_room(batcher: Batcher, model: Gated) -> None:
    first = first_in_work(batcher, model)
    queued = batcher.submit(asking(*"abcdef"))

    with pytest.raises(
        Overloaded, match=r"6 texts of 6 characters wait for an answer, the server lets 6 of .* wait; ask again"
    ):
        batcher.submit(asking("g"))

    model.let.set()
    wait([first, queued], 10)
    assert batcher.submit(asking("g")).result(10) == [{"echo": "g"}]


def test_a_request_larger_than_the_queue_is_answered_when_nothing_waits(batcher: Batcher, model: Gated) -> None:
    model.let.set()

    assert len(batcher.submit(asking(*"abcdefghij")).result(10)) == 10


def test_what_has_waited_too_long_is_refused_rather_than_answered_to_nobody(model: Gated) -> None:
    batcher = Batcher(model, bounds=Bounds(max_wait_s=0.05))
    first = first_in_work(batcher, model)
    late = batcher.submit(asking("late"))
    time.sleep(0.1)
    model.let.set()

    assert first.result(10) == [{"echo": "first"}]
    with pytest.raises(Overloaded, match="the request waited 0 s for its turn, allowed are 0 s; ask again later"):
        late.result(10)
    assert model.batches == [["first"]]
    batcher.close(timeout_s=10)


def test_characters_bound_a_batch_and_the_queue_as_texts_do(model: Gated) -> None:
    bounds = Bounds(max_batch_characters=10, max_waiting_characters=25)
    batcher = Batcher(model, bounds=bounds)
    futures = [first_in_work(batcher, model), *(batcher.submit(asking(letter * 8)) for letter in "abc")]
    with pytest.raises(Overloaded, match="3 texts of 24 characters wait for an answer"):
        batcher.submit(asking("dd"))
    model.let.set()

    wait(futures, 10)
    assert model.batches == [["first"], ["a" * 8, "b" * 8], ["c" * 8]]
    batcher.close(timeout_s=10)


def test_a_cancelled_request_costs_the_model_nothing(batcher: Batcher, model: Gated) -> None:
    first = first_in_work(batcher, model)
    cancelled, kept = batcher.submit(asking("a")), batcher.submit(asking("b"))
    assert cancelled.cancel()
    model.let.set()

    wait([first, kept], 10)
    assert model.batches == [["first"], ["b"]]


def test_closing_answers_what_is_queued(model: Gated) -> None:
    batcher = Batcher(model)
    futures = [first_in_work(batcher, model), batcher.submit(asking("a"))]
    closing = threading.Thread(target=batcher.close)
    closing.start()
    model.let.set()

    assert [future.result(10) for future in futures] == [[{"echo": "first"}], [{"echo": "a"}]]
    closing.join(10)
    assert not batcher.alive


def test_no_instance_gives_no_prediction(batcher: Batcher) -> None:
    assert batcher.submit(()).result(0) == []


def test_a_failure_is_logged_without_the_text(batcher: Batcher, model: Gated, caplog: pytest.LogCaptureFixture) -> None:
    model.let.set()
    with pytest.raises(ServingError):
        batcher.submit(asking("bad")).result(10)

    assert "prediction failed error=ValueError at=" in caplog.text
    assert "bad" not in caplog.text.replace("test_batching", "")
