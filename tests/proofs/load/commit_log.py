"""The order of commits, logged by the very transactions that it is about; the product knows nothing of it.

Here: a table of the tests' own, and a `Database` that adds a row to it at the end of each of the recorder's
transactions. Not here: what is made of it (`oracle`).

Why the numbers are the order of commits, for each key: a row gets its number when it is added, at the end of the
transaction, when that holds the locks of all its keys (PostgreSQL), or is alone (SQLite, and PostgreSQL with more keys
than are locked one by one). Locks are released after the commit is visible. So of two transactions about one key, the
second gets its number after the first has committed. What two transactions without a key in common do is independent.
"""

import json
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from sqlalchemy import Connection

from octy_middleware import Database
from octy_middleware.db.backend import WriteMode
from octy_middleware.db.bulk_sql import run
from octy_middleware.http.event import AuthEvent
from octy_middleware.recording.outcome_writer import OutcomeWriter
from proofs.load.reference_policy import LoggedOutcome

_NUMBER = {"sqlite": "INTEGER PRIMARY KEY AUTOINCREMENT", "postgresql": "BIGSERIAL PRIMARY KEY"}
_ADD = "INSERT INTO commit_log (process, crowd, batch) VALUES (?, ?, ?)"
_READ = "SELECT process, crowd, batch FROM commit_log ORDER BY seq"

_at_work = threading.local()  # `batch`: what the recorder's thread is writing


class Commit(NamedTuple):
    """One transaction of a recorder. `crowd`: it had more keys than are locked one by one."""

    process: int
    crowd: bool
    batch: tuple[LoggedOutcome, ...]


class LoggedDatabase(Database):
    """A database whose recorder's transactions each leave a row in the log."""

    @contextmanager
    def write(self, *, mode: WriteMode = WriteMode.EXCLUSIVE, **options: Any) -> Iterator[Connection]:
        with super().write(mode=mode, **options) as connection:
            yield connection
            if (batch := getattr(_at_work, "batch", None)) is not None:
                run(connection, _ADD, os.getpid(), int(mode is WriteMode.BULK_RECORDER), _as_text(batch))


def log_batches() -> None:
    """Let every ledger of this process say which batch it writes."""
    plain = OutcomeWriter.write

    def write(self: OutcomeWriter, batch: Sequence[AuthEvent]) -> None:
        _at_work.batch = batch
        try:
            plain(self, batch)
        finally:
            _at_work.batch = None

    OutcomeWriter.write = write  # type: ignore[method-assign]


def create_commit_log(database: Database) -> None:
    kind = _NUMBER[database.engine.dialect.name]
    with database.write() as connection:
        run(connection, f"CREATE TABLE commit_log (seq {kind}, process BIGINT, crowd INTEGER, batch TEXT)")


def read_commit_log(database: Database) -> list[Commit]:
    with database.read() as connection:
        rows = run(connection, _READ).all()
    return [
        Commit(process, bool(crowd), tuple(LoggedOutcome(*line) for line in json.loads(batch)))
        for process, crowd, batch in rows
    ]


def _as_text(batch: Sequence[AuthEvent]) -> str:
    return json.dumps([(str(e.outcome), e.at, e.source, e.public_key, e.request_id) for e in batch])
