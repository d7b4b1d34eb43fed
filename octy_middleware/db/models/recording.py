"""What host apps record: counts, refused attempts, streaks of failures, and the state of each process."""

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import BigInteger, Index
from sqlmodel import Field

from octy_middleware.db.columns import BIG, Table, time_column, time_or_none


class OutcomeMinute(Table, table=True):
    """The exact count of one outcome by public key, source and minute. Unknown keys are counted under the empty key."""

    __tablename__ = "outcome_minute"
    __table_args__: ClassVar[dict[str, Any]] = {"sqlite_with_rowid": False}

    public_key: str = Field(primary_key=True, max_length=200)
    minute: int = Field(primary_key=True, sa_type=BigInteger, sa_column_kwargs={"autoincrement": False})
    source: str = Field(primary_key=True, max_length=64)
    outcome: str = Field(primary_key=True, max_length=32)
    count: int = Field(sa_type=BigInteger)


class Attempt(Table, table=True):
    """One refused request in detail, or one use of a key pair that will be retired.

    At most 60 rows for a key, minute and outcome; further ones are counted only.
    """

    __table_args__ = (
        Index("ix_attempt_public_key_minute_outcome", "public_key", "minute", "outcome"),
        {"sqlite_autoincrement": True},
    )

    id: int | None = Field(default=None, primary_key=True, sa_type=BIG)
    at: datetime = time_column()
    public_key: str = Field(max_length=200)
    key_hash: str = Field(default="", max_length=32)  # a keyed hash of an unknown key, never its text
    minute: int = Field(sa_type=BigInteger)
    outcome: str = Field(max_length=32)
    source: str = Field(max_length=64)
    user_agent: str = Field(max_length=200)
    method: str = Field(max_length=16)
    path: str = Field(max_length=200)
    request_id: str = Field(max_length=100)


class Streak(Table, table=True):
    """Consecutive failures by public key and source network; the empty network counts those from all networks."""

    __table_args__: ClassVar[dict[str, Any]] = {"sqlite_with_rowid": False}

    public_key: str = Field(primary_key=True, max_length=200)
    network: str = Field(primary_key=True, max_length=64)
    length: int = Field(sa_type=BigInteger)
    first_at: datetime = time_column()
    last_at: datetime = time_column()


class IncidentCount(Table, table=True):
    """Failed attempts of one incident, summed by source and by time, in bounded rows (`incident_counts`)."""

    __tablename__ = "incident_count"
    __table_args__: ClassVar[dict[str, Any]] = {"sqlite_with_rowid": False}

    subject: str = Field(primary_key=True, max_length=200)  # an incident, the public key of a retired pair, or a decoy
    bucket: int = Field(primary_key=True, sa_type=BigInteger, sa_column_kwargs={"autoincrement": False})
    source: str = Field(primary_key=True, max_length=64)
    count: int = Field(sa_type=BigInteger)
    last_at: datetime = time_column()
    user_agent: str = Field(max_length=200)  # the last one sent by this source


class AppProcess(Table, table=True):
    """The last heartbeat of a host app's process, written together with its outcomes."""

    __tablename__ = "app_process"

    id: str = Field(primary_key=True, max_length=40)
    host: str = Field(max_length=100)
    pid: int
    release: str = Field(max_length=20)
    seen_at: datetime = time_column()
    queued: int  # outcomes that wait for their commit
    lost: int = Field(sa_type=BigInteger)  # outcomes dropped since the process started
    commit_micros: int = Field(sa_type=BigInteger)  # duration of the last commit
    failures: int = Field(sa_type=BigInteger)  # failed commits since the process started
    last_error: str  # of the last failed commit; stays after later successes
    failed_at: datetime | None = time_or_none()  # of that commit
