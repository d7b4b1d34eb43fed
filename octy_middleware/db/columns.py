"""Column types that are the same on both databases, and the base class of all tables."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, Dialect, Index, Integer, MetaData, text
from sqlalchemy.orm import registry
from sqlalchemy.types import TypeDecorator
from sqlmodel import Field, SQLModel

from octy_middleware.clock import EPOCH

# SQLite autoincrements only an INTEGER PRIMARY KEY; every INTEGER of SQLite has 64 bits.
BIG = BigInteger().with_variant(Integer, "sqlite")


class UtcTime(TypeDecorator[datetime]):
    """An aware UTC datetime, stored as BIGINT microseconds since 1970."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:  # noqa: ARG002
        """Return microseconds. Raises ValueError for a naive time, which would be wrong by the local time's offset."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"naive datetime {value!r}: pass an aware UTC datetime")
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
    """Base class of all tables. Names of constraints follow a convention, so that migrations can name them.

    It has a registry of its own: a host app may have models with the same names.
    """


def partial_index(name: str, *columns: str, where: str, unique: bool = False) -> Index:
    """Return an index of those rows that meet a condition."""
    return Index(name, *columns, unique=unique, sqlite_where=text(where), postgresql_where=text(where))


def time_column(*, index: bool = False) -> Any:
    """Return the field of a time that is never NULL."""
    return Field(sa_type=UtcTime, nullable=False, index=index)


def time_or_none() -> Any:
    """Return the field of a time that may be NULL."""
    return Field(default=None, sa_type=UtcTime, nullable=True)
