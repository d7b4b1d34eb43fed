"""PURE. JSON in one form, for what is signed or hashed: sorted keys, no spaces, UTF-8, no floating-point numbers.

It is the form of RFC 8785 for texts, whole numbers, booleans and null.
"""

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from typing_extensions import TypeAliasType

if TYPE_CHECKING:
    JsonValue = str | int | bool | None | list["JsonValue"] | dict[str, "JsonValue"]
else:  # named, as pydantic needs a type that refers to itself
    JsonValue = TypeAliasType("JsonValue", str | int | bool | list["JsonValue"] | dict[str, "JsonValue"] | None)


class _Signed(Protocol):
    def to_bytes(self) -> bytes: ...


T = TypeVar("T", bound=_Signed)


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


def read_canonical(data: bytes, make: Callable[..., T], is_valid: Callable[[T], bool], *, max_bytes: int) -> T | None:
    """Return what `make` makes of a JSON object's fields, in canonical form and valid; None for anything else.

    It must have `to_bytes`, whose canonical bytes must be the data again. Nothing is raised.
    """
    if len(data) > max_bytes:
        return None
    try:
        value = make(**json.loads(data))
        return value if is_valid(value) and value.to_bytes() == data else None
    except (ValueError, TypeError, RecursionError, NotCanonicalError):
        return None
