from __future__ import annotations

import hashlib

import pytest

from taskmix import storage


def test_a_fingerprint_is_the_start_of_the_sha256_of_canonical_json() -> None:
    expected = hashlib.sha256('{"a":[1,2.5,"ß"],"b":null}'.encode()).hexdigest()[:16]
    assert storage.fingerprint({"b": None, "a": (1, 2.5, "ß")}) == expected


def test_order_of_keys_does_not_matter_all_else_does() -> None:
    assert storage.fingerprint({"a": 1, "b": 2}) == storage.fingerprint({"b": 2, "a": 1})
    values = [{"a": 1}, {"a": "1"}, {"a": 1.5}, {"a": True}, {"a": None}, {"a": [1]}, {"b": 1}, [], {}, ""]
    assert len({storage.fingerprint(value) for value in values}) == len(values)


def test_what_has_no_canonical_form_is_refused() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        storage.fingerprint({"a": float("nan")})
    with pytest.raises(TypeError, match="not JSON serializable"):
        storage.fingerprint({"a": {1, 2}})
