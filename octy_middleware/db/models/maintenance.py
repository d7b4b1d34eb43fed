"""The installation itself: its id, its keys, periodic jobs, and the rows that writers lock."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger
from sqlmodel import Field

from octy_middleware.db.columns import Table, time_column, time_or_none


class InstallationRow(Table, table=True):
    """The installation that this database belongs to; one row."""

    __tablename__ = "installation"

    slot: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})  # always 1
    id: str = Field(max_length=32)
    location: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)  # of the database, when last confirmed
    created_at: datetime = time_column()


class KeyCheck(Table, table=True):
    """A keyed check value of a key of a keychain: distinguishes it from another key with the same id (`key_checks`)."""

    __tablename__ = "key_check"

    purpose: str = Field(primary_key=True, max_length=32)  # the setting's name: "peppers", "link_keys", …
    key_id: str = Field(primary_key=True, max_length=16)
    check_value: str = Field(max_length=64)
    registered_at: datetime = time_column()


class Job(Table, table=True):
    """A periodic job that one worker at a time runs in small steps; the cursor is where it resumes after a crash."""

    name: str = Field(primary_key=True, max_length=40)
    holder: str = Field(default="", max_length=64)
    leased_until: datetime | None = time_or_none()
    cursor: str = Field(default="", max_length=300)
    started_at: datetime | None = time_or_none()
    finished_at: datetime | None = time_or_none()  # end of the last complete run
    done: int = Field(default=0, sa_type=BigInteger)  # rows handled by the current run, or by the last one
    last_error: str = ""


class WriteLock(Table, table=True):
    """Rows that writers on PostgreSQL lock and never change (`postgres`); none on SQLite, where the file is locked."""

    __tablename__ = "write_lock"

    slot: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
