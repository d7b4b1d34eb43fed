"""The lease on a job's row: one worker at a time runs the job; another continues when the holder has died.

Each step first renews the lease in its own transaction, so a holder that was replaced can't change anything. The work
of a step and the cursor are committed together.
"""

import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection
from sqlmodel import Session

from octy_middleware.clock import Clock, to_micros
from octy_middleware.db.backend import WriteMode
from octy_middleware.db.bulk_sql import run
from octy_middleware.db.database import Database
from octy_middleware.db.models import Job

LEASE_TTL = 60.0
"""Seconds without a step after which another worker takes the job over."""

_MISTAKEN = 10 * LEASE_TTL  # a lease this far ahead was given by a clock that was wrong
# Seconds for the turn to write: less than the second after which PostgreSQL ends a deadlock at random.
_LOCK_TIMEOUT = 0.5

_MAKE = (
    "INSERT INTO job (name, holder, cursor, done, last_error) VALUES (?, '', '', 0, '') ON CONFLICT (name) DO NOTHING"
)
_TAKE = (
    "UPDATE job SET holder = ?, leased_until = ? WHERE name = ? AND "
    "(holder IN ('', ?) OR leased_until IS NULL OR leased_until < ? OR leased_until > ?)"
)
_KEEP = "UPDATE job SET leased_until = ? WHERE name = ? AND holder = ?"
_BEGIN = "UPDATE job SET cursor = ?, started_at = ?, done = 0, last_error = '' WHERE name = ? AND holder = ?"
_NOTE = "UPDATE job SET cursor = ?, done = done + ? WHERE name = ? AND holder = ?"
_FINISH = (
    "UPDATE job SET cursor = ?, finished_at = ?, last_error = '', holder = '', leased_until = NULL "
    "WHERE name = ? AND holder = ?"
)
_RELEASE = (
    "UPDATE job SET holder = '', leased_until = NULL, last_error = CASE WHEN ? = '' THEN last_error ELSE ? END "
    "WHERE name = ? AND holder = ?"
)


class LeaseLostError(Exception):
    """Another process holds the lease now."""


@dataclass(frozen=True, slots=True)
class JobState:
    """The state of a job."""

    cursor: str
    started_at: datetime | None
    finished_at: datetime | None


def read_job(database: Database, name: str) -> JobState | None:
    """Return the state of a job, or None when it never ran."""
    with database.read_session() as session:
        return _state(session, name)


def _state(session: Session, name: str) -> JobState | None:
    row = session.get(Job, name)
    return None if row is None else JobState(row.cursor, row.started_at, row.finished_at)


class JobLease:
    """One holder's lease on one job. Methods that write raise LeaseLostError when another process holds it."""

    def __init__(self, database: Database, name: str, clock: Clock) -> None:
        self._database = database
        self._name = name
        self._clock = clock
        self._kept_at = clock()
        self.holder = f"{socket.gethostname()[:40]}/{os.getpid()}/{secrets.token_hex(4)}"

    def take(self) -> JobState | None:
        """Acquire the lease if it is free or expired; None when another process holds it."""
        now = self._clock()
        given = (self.holder, to_micros(now + LEASE_TTL), self._name)
        fits = (self.holder, to_micros(now), to_micros(now + _MISTAKEN))
        with self._writing() as connection, Session(connection) as session:
            run(connection, _MAKE, self._name)
            if run(connection, _TAKE, *given, *fits).rowcount != 1:
                return None
            self._kept_at = now
            return _state(session, self._name)

    def free_if_dead(self) -> None:
        """Release the lease of a holder that was a process of this host and has ended."""
        with self._database.read() as connection:
            holder = run(connection, "SELECT holder FROM job WHERE name = ?", self._name).scalar()
        if holder and _is_dead(str(holder)):
            with self._writing() as connection:
                run(connection, _RELEASE, "", "", self._name, holder)

    @contextmanager
    def step(self, mode: WriteMode = WriteMode.RECORDER) -> Iterator[Connection]:
        """Open a step's transaction, beside recorders where the database can. It begins by renewing the lease."""
        with self._writing(mode) as connection:
            now = self._clock()
            self._must(connection, _KEEP, to_micros(now + LEASE_TTL))
            yield connection
        self._kept_at = now

    def is_ageing(self) -> bool:
        """Return whether a step is due, whether or not there is something to do."""
        return not 0 <= self._clock() - self._kept_at < LEASE_TTL / 3

    def begin(self, cursor: str, at: float) -> None:
        """Record the start of a run."""
        with self.step() as connection:
            self._must(connection, _BEGIN, cursor, to_micros(at))

    def note(self, connection: Connection, cursor: str, done: int) -> None:
        """Save, in a step's transaction, where another holder would go on, and how many rows the step did."""
        self._must(connection, _NOTE, cursor, done)

    def finish(self, cursor: str) -> None:
        """Record that the run is complete, and release the lease."""
        with self.step() as connection:
            self._must(connection, _FINISH, cursor, to_micros(self._clock()))

    def release(self, error: str = "") -> None:
        """Release the lease, if it is still ours."""
        with self._writing() as connection:
            run(connection, _RELEASE, error, error, self._name, self.holder)

    def _writing(self, mode: WriteMode = WriteMode.RECORDER) -> AbstractContextManager[Connection]:
        return self._database.write(timeout=_LOCK_TIMEOUT, mode=mode)

    def _must(self, connection: Connection, statement: str, *values: object) -> None:
        if run(connection, statement, *values, self._name, self.holder).rowcount != 1:
            raise LeaseLostError(f"the job {self._name!r} was taken over")


def _is_dead(holder: str) -> bool:
    host, pid, _ = holder.rsplit("/", 2)
    if host != socket.gethostname()[:40]:
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # a process of another user
        pass
    return False
