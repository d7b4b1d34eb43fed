"""The one form of a JSON value: what has none is refused."""

from typing import Any

import pytest

from octy_worker.canonical_json import NotCanonicalError, canonical_json


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def test_value_has_one_form() -> None:
    assert canonical_json({"b": [1, True, None], "a": "é"}) == '{"a":"é","b":[1,true,null]}'.encode()


@pytest.mark.parametrize("value", [1.5, {"a": [1.5]}, float("nan"), "\ud800", b"x", {1: 1, "a": 2}, nested(100_000)])
def test_value_without_a_form_is_refused(value: Any) -> None:
    with pytest.raises(NotCanonicalError):
        canonical_json(value)
