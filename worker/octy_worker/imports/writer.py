"""Writes an import in short steps, and makes it valid by one step at its end.

Key pairs are written as pending: for a request they are unknown. Accounts without another key pair can't be used
meanwhile. One UPDATE makes all key pairs of the import valid. Until it is committed, a process that finds the import
interrupted removes its rows; afterwards, a process that finds it completes it: notifies the customers whose account
existed already. The job's cursor has the phase, and the import's range of ids, which no other row uses.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Connection, insert
from sqlalchemy.exc import IntegrityError

from octy_middleware.clock import Clock
from octy_middleware.db.backend import WriteMode
from octy_middleware.db.bulk_sql import Batch, Row, run
from octy_middleware.db.database import Database
from octy_middleware.db.models import METADATA, Account
from octy_middleware.domain.key_pairs import ImportedKeyPair, activate_imported, insert_imported
from octy_middleware.domain.notices import record_added_keys
from octy_middleware.errors import DatabaseUnavailableError, OctyError
from octy_middleware.states import KeyPairCause, KeyPairState
from octy_worker.domain.job_lease import JobLease, JobState, LeaseLostError, read_job
from octy_worker.domain.step_pacer import MAX_ROWS, StepPacer

JOB = "import"
_MANY = 1000  # new rows; fewer change no plan
_RETRY_TIMEOUT = 10.0  # seconds for a database that is busy or not available
_RETRY_INTERVAL = 0.1
_TAKEN = "23505"  # PostgreSQL's code of a unique violation; SQLite's message has UNIQUE
_WRITING, _NOTIFYING = "writing", "notifying"

_PENDING = f"cause = '{KeyPairCause.IMPORT}' AND state = '{KeyPairState.PENDING}'"
_LEFT = f"SELECT id, account_id FROM key_pair WHERE id >= ? AND id <= ? AND {_PENDING} ORDER BY id LIMIT {MAX_ROWS}"  # noqa: S608  # our own names, here and below
_REMOVE_PAIRS = Batch(f"DELETE FROM key_pair WHERE id IN (SELECT id FROM {{input}}) AND {_PENDING}", id="text")  # noqa: S608
_UNUSED = " AND ".join(
    f"NOT EXISTS (SELECT 1 FROM {key.parent.table.name} o WHERE o.{key.parent.name} = account.id)"  # noqa: S608
    for table in METADATA.sorted_tables
    for key in table.foreign_keys
    if key.column.table.name == "account"
)
_REMOVE_ACCOUNTS = Batch(
    f"DELETE FROM account WHERE id IN (SELECT id FROM {{input}}) AND id >= ? AND id <= ? AND {_UNUSED}",  # noqa: S608
    id="text",
)
_ADDED = (
    "SELECT account_id, id, public_key FROM key_pair WHERE id >= ? AND id <= ? AND NOT (account_id >= ? AND "  # noqa: S608
    f"account_id <= ?) AND account_id > ? AND cause = '{KeyPairCause.IMPORT}' AND state <> '{KeyPairState.PENDING}' "
    "ORDER BY account_id, id"
)
_Result = TypeVar("_Result")


class Rows(NamedTuple):
    """New accounts and key pairs, each in ascending order of ids; an account before its first pair."""

    accounts: Sequence[dict[str, Any]]
    pairs: Sequence[ImportedKeyPair]


@dataclass(frozen=True, slots=True)
class Cursor:
    """The progress of an import. `first` to `last`: its range of ids; `notified`: the last account notified."""

    phase: str
    first: str
    last: str
    notified: str = ""

    @classmethod
    def parse(cls, text: str) -> "Cursor | None":
        """Parse what `str` returned; None: no import is in progress."""
        return cls(*text.split(" ", 3)) if text else None

    def __str__(self) -> str:
        return f"{self.phase} {self.first} {self.last} {self.notified}"


def unfinished(database: Database) -> Cursor | None:
    """Return the import whose pairs are not valid yet, in progress or interrupted."""
    state = read_job(database, JOB)
    cursor = None if state is None else Cursor.parse(state.cursor)
    return cursor if cursor is not None and cursor.phase == _WRITING else None


def clear_interrupted(database: Database, clock: Clock) -> int:
    """Remove or complete an import that was interrupted; return how many pairs were removed.

    One in progress is left alone. Raises DatabaseUnavailableError.
    """
    state = read_job(database, JOB)
    if state is None or not state.cursor:
        return 0
    with suppress(InProgressError):
        return ImportWriter(database, clock).clear()
    return 0


class InProgressError(DatabaseUnavailableError):
    """Another import is in progress."""


class ImportWriter:
    """Writes one import."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        *,
        pace: StepPacer | None = None,
        pause: Callable[[float], None] = time.sleep,
        retry_timeout: float = _RETRY_TIMEOUT,
    ) -> None:
        self._database = database
        self._retry_timeout = retry_timeout
        self._lease = JobLease(database, JOB, clock)
        self._clock = clock
        self.pace = pace or StepPacer(bound=0.04, rest=1.0)
        self._pause = pause

    def clear(self) -> int:
        """Remove or complete what an interrupted import has left; return how many pairs were removed."""
        with self._taken() as state:
            return self._recover(state)

    def write(self, rows: Rows, *, now: float, report: Callable[[int], None]) -> None:
        """Write all rows and make them valid. Raises DatabaseUnavailableError; then nothing was imported."""
        if not rows.pairs:
            return
        with self._taken() as state:
            self._recover(state)
            ids = [row["id"] for row in (*rows.accounts[:1], rows.pairs[0], rows.pairs[-1])]
            cursor = Cursor(_WRITING, min(ids), max(ids))
            try:
                self._retrying(lambda: self._lease.begin(str(cursor), now))
                self._insert(rows, report)
                if len(rows.accounts) + len(rows.pairs) > _MANY:
                    self._retrying(self._refresh_statistics)
                self._retrying(lambda: self._make_valid(cursor, now))
            except BaseException as error:
                if not self._became_valid(cursor, error):
                    raise
            with suppress(DatabaseUnavailableError, LeaseLostError):  # it is valid; the next run notifies the rest
                self._notify(replace(cursor, phase=_NOTIFYING))
                self._retrying(lambda: self._lease.finish(""))

    def _became_valid(self, cursor: Cursor, error: BaseException) -> bool:
        """Remove what was written; return True when it is valid: a commit without a response may have succeeded."""
        with suppress(OctyError, LeaseLostError):
            state = read_job(self._database, JOB)
            assert state is not None  # the row of our lease
            if state.cursor == str(replace(cursor, phase=_NOTIFYING)) and isinstance(error, DatabaseUnavailableError):
                return True
            self._recover(state)
        return False

    @contextmanager
    def _taken(self) -> Iterator[JobState]:
        self._retrying(self._lease.free_if_dead)
        state = self._retrying(self._lease.take)
        if state is None:
            raise InProgressError(
                "another import is running → wait until it ends; one that was killed ends after a minute"
            )
        try:
            yield state
        except IntegrityError as error:
            if getattr(error.orig, "sqlstate", "") != _TAKEN and "UNIQUE" not in str(error.orig):
                raise
            raise DatabaseUnavailableError(
                "another process wrote the same accounts or key pairs meanwhile → run it again"
            ) from None
        except LeaseLostError:
            raise DatabaseUnavailableError(
                "the import was interrupted and another one started → run it again"
            ) from None
        finally:
            with suppress(OctyError):  # else the lease ends by itself
                self._lease.release()

    def _recover(self, state: JobState) -> int:
        cursor, removed = Cursor.parse(state.cursor), 0
        if cursor is None:
            return 0
        if cursor.phase == _NOTIFYING:
            self._notify(cursor)
        while cursor.phase == _WRITING and (found := self._retrying(lambda: self._left(cursor))):
            removed += len(found)
            while found:
                found = found[self._step(found, lambda c, portion: _remove(c, portion, cursor)) :]
        self._retrying(self._forget)
        return removed

    def _forget(self) -> None:
        """Record that no import is in progress, and keep the lease: another may follow."""
        with self._lease.step() as connection:
            self._lease.note(connection, "", 0)

    def _left(self, cursor: Cursor) -> list[Row]:
        with self._database.read() as connection:
            return [tuple(row) for row in run(connection, _LEFT, cursor.first, cursor.last)]

    def _insert(self, rows: Rows, report: Callable[[int], None]) -> None:
        """Write each account in the step of its first pair: a clean-up finds accounts by their pairs."""
        accounts = {account["id"]: account for account in rows.accounts}
        waiting = [(accounts.pop(pair["account_id"], None), pair) for pair in rows.pairs]
        done = 0
        while waiting:
            handled = self._step(waiting[:MAX_ROWS], _insert_some)
            done += handled + sum(account is not None for account, _ in waiting[:handled])
            waiting = waiting[handled:]
            report(done)

    def _step(self, rows: Sequence[Any], action: Callable[[Connection, Sequence[Any]], None]) -> int:
        """Write some of these rows in one transaction; return how many. Then pause."""

        def go() -> tuple[int, float]:
            handled = 0
            with self._lease.step() as connection:
                begun = time.monotonic()
                for portion in self.pace.portions(rows):
                    action(connection, portion)
                    handled += len(portion)
            return handled, time.monotonic() - begun

        handled, took = self._retrying(go)
        self._pause(self.pace.pause_after(took))
        return handled

    def _refresh_statistics(self) -> None:
        with self._lease.step() as connection:
            self._database.refresh_statistics(connection, "account", "key_pair")

    def _make_valid(self, cursor: Cursor, now: float) -> None:
        with self._lease.step(WriteMode.IMPORT) as connection:
            self._lease.note(connection, str(replace(cursor, phase=_NOTIFYING)), 0)
            activate_imported(connection, cursor.first, cursor.last, now)

    def _notify(self, cursor: Cursor) -> None:
        """Notify customers whose account existed already."""
        span = (cursor.first, cursor.last)

        def added() -> list[Row]:
            with self._database.read() as connection:
                return [tuple(row) for row in run(connection, _ADDED, *span, *span, cursor.notified)]

        by_account = groupby(self._retrying(added), key=lambda row: row[0])
        waiting = [(account_id, [row[1:] for row in rows]) for account_id, rows in by_account]

        def note_some(connection: Connection, some: Sequence[tuple[str, list[Row]]]) -> None:
            for account_id, pairs in some:
                keys = [public_key for _, public_key in pairs]
                record_added_keys(connection, account_id, pairs[0][0], keys, self._clock())
            self._lease.note(connection, str(replace(cursor, notified=some[-1][0])), 0)

        while waiting:
            some = waiting[:MAX_ROWS]
            waiting = waiting[self._step(some, note_some) :]

    def _retrying(self, action: Callable[[], _Result]) -> _Result:
        """Call the action, and retry while the database is not available for a short time."""
        since = time.monotonic()
        while True:
            try:
                return action()
            except DatabaseUnavailableError:
                if time.monotonic() - since > self._retry_timeout:
                    raise
                self._pause(_RETRY_INTERVAL)


def _insert_some(connection: Connection, some: Sequence[tuple[dict[str, Any] | None, ImportedKeyPair]]) -> None:
    accounts = [account for account, _ in some if account is not None]
    if accounts:
        connection.execute(insert(Account), accounts)
    insert_imported(connection, [pair for _, pair in some])


def _remove(connection: Connection, pairs: Sequence[Row], cursor: Cursor) -> None:
    """Remove pairs, and those accounts of this import that nothing else belongs to."""
    _REMOVE_PAIRS.run(connection, [(pair_id,) for pair_id, _ in pairs])
    accounts = sorted({account_id for _, account_id in pairs})
    _REMOVE_ACCOUNTS.run(connection, [(account_id,) for account_id in accounts], cursor.first, cursor.last)
