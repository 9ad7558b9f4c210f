"""The server against its own description, by schemathesis: no 5xx, and only the statuses and shapes that it tells."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from serving_double import Served

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
EXAMPLES = 60
"""Of each call and mode; benchmarks/serving_fuzz.py sends by the ten thousand."""


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_every_call_answers_as_the_description_says(served: Served, mode: GenerationMode) -> None:
    schema = schemathesis.openapi.from_url(f"{served.address}/openapi.json")
    operations = [result.ok() for result in schema.get_all_operations()]

    assert len(operations) > 10
    for operation in operations:
        asking = operation.method.upper() == "POST"
        if asking or mode is GenerationMode.POSITIVE:
            _probe(operation, mode=mode, examples=EXAMPLES if asking else 5)
    assert served.process.poll() is None


def _probe(operation: Any, *, mode: GenerationMode, examples: int) -> None:
    """Send generated requests to one call of the description."""

    @settings(max_examples=examples, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def send(case: schemathesis.Case) -> None:
        case.call_and_validate(checks=CHECKS)

    send()
