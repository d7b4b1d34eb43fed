"""Inputs and outputs of queries and acts as JSON values, by pydantic."""

from functools import cache
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter

T = TypeVar("T")


@cache
def adapter(kind: Any) -> TypeAdapter[Any]:
    """Return pydantic's reader and writer of a type."""
    return TypeAdapter(kind)


def to_json(kind: Any, value: object) -> Any:
    """Return a value as JSON values."""
    return adapter(kind).dump_python(value, mode="json")


def from_json(kind: type[T], value: object) -> T:
    """Return JSON values as a value of this type. Raises pydantic's ValidationError."""
    reader: TypeAdapter[T] = adapter(cast("Any", kind))
    return reader.validate_python(value)
