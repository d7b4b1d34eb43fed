"""PURE. JSON in one form, for what is signed or hashed: sorted keys, no spaces, UTF-8, no floating-point numbers.

It is the form of RFC 8785 for texts, whole numbers, booleans and null.
"""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from typing_extensions import TypeAliasType

if TYPE_CHECKING:
    JsonValue = str | int | bool | None | list["JsonValue"] | dict[str, "JsonValue"]
else:  # named, as pydantic needs a type that refers to itself
    JsonValue = TypeAliasType("JsonValue", str | int | bool | list["JsonValue"] | dict[str, "JsonValue"] | None)


class NotCanonicalError(ValueError):
    """A value that has no canonical form."""


def canonical_json(value: Any) -> bytes:
    """Return the one form of a JSON value. Raises NotCanonicalError for a value without one."""
    try:
        has_float = _has_float(value)
        data = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
    except (ValueError, TypeError, RecursionError):  # surrogates, bytes, keys of several types, deep nesting
        raise NotCanonicalError("there may be JSON values only") from None
    if has_float:
        raise NotCanonicalError("there may be no floating-point numbers")
    return data


def _has_float(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_has_float, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_has_float, value))
    return isinstance(value, float)
