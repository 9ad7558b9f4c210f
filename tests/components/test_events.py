"""The lines that steps write and local runs read."""

import pytest

from taskmix_components.events import StepEvent, parse_event


@pytest.mark.parametrize(
    "event",
    [
        StepEvent("started", "finetune minilm [intent+slots]"),
        StepEvent("finished", "ingest massive", 12.3),
        StepEvent("finished", "evaluate minilm [intent]", 0.4, reused=True),
        StepEvent("failed", "smoke test assistant", 3.0),
    ],
)
def test_event_survives_the_way_through_a_log(event: StepEvent) -> None:
    assert parse_event("    " + event.line() + "\n") == event


@pytest.mark.parametrize("line", ["", "training epoch 1/4", "the step started: no", "step began: ingest massive"])
def test_other_lines_are_no_events(line: str) -> None:
    assert parse_event(line) is None
