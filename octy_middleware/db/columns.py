"""What columns are made of: times, big numbers, and the base of all tables with the names of its constraints.

Here: types that are the same on every database. Not here: any table (`models`).
"""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, Dialect, Integer, MetaData
from sqlalchemy.orm import registry
from sqlalchemy.types import TypeDecorator
from sqlmodel import Field, SQLModel

from octy_middleware.clock import EPOCH

# SQLite counts up only an INTEGER PRIMARY KEY, and every INTEGER of SQLite is as big.
BIG = BigInteger().with_variant(Integer, "sqlite")


class UtcTime(TypeDecorator[datetime]):
    """An aware UTC datetime kept as BIGINT microseconds since 1970."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:  # noqa: ARG002
        """Refuse naive times: they are the classic way to be wrong by hours."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"naive time {value!r}: give an aware UTC datetime")
        return (value - EPOCH) // timedelta(microseconds=1)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Return an aware datetime."""
        return None if value is None else EPOCH + timedelta(microseconds=value)


_METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    },
)


class Table(SQLModel, registry=registry(metadata=_METADATA)):
    """Base of all tables; constraint names are fixed so that migrations can name them.

    Tables and class names are in a registry of their own: a host app may have models of the same names.
    """


def time_column(*, index: bool = False) -> Any:
    """Return the field of a time that is always there."""
    return Field(sa_type=UtcTime, nullable=False, index=index)


def time_or_none() -> Any:
    """Return the field of a time that may be missing."""
    return Field(default=None, sa_type=UtcTime, nullable=True)
