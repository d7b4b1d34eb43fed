"""Times and ids."""

from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.dialects import sqlite

from octy_middleware.clock import to_micros, utc, uuid7
from octy_middleware.db.columns import UtcTime


@given(st.floats(0, 4e9), st.binary(min_size=10, max_size=10))
def test_uuid7_is_rfc_9562_and_holds_its_milliseconds(now: float, noise: bytes) -> None:
    made = UUID(uuid7(now, lambda count: noise[:count]))
    assert (made.version, made.variant) == (7, "specified in RFC 4122")
    assert made.int >> 80 == int(now * 1000)


@given(st.floats(0, 4e9))
def test_utc_and_micros_agree(seconds: float) -> None:
    assert to_micros(seconds) == (utc(seconds) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


@given(st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(timezone(timedelta(hours=5)))))  # noqa: DTZ001
def test_time_column_returns_the_same_moment_in_utc(moment: datetime) -> None:
    column, dialect = UtcTime(), sqlite.dialect()
    stored = column.process_bind_param(moment, dialect)
    back = column.process_result_value(stored, dialect)
    assert back == moment
    assert back is not None
    assert back.tzinfo is UTC


def test_naive_time_is_rejected() -> None:
    with pytest.raises(ValueError, match="naive"):
        UtcTime().process_bind_param(datetime(2026, 1, 1), sqlite.dialect())  # noqa: DTZ001
