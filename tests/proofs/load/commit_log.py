"""The order of commits, logged by the transactions themselves in a table of the tests' own.

The numbers are the order of commits, for each key: a row gets its number at the end of the transaction, when that holds
the locks of all its keys (PostgreSQL), or is alone (SQLite, and PostgreSQL with more keys than are locked one by one).
Locks are released after the commit is visible. So of two transactions about one key, the second gets its number after
the first has committed. Transactions without a key in common are independent.
"""

import json
import os
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from octy_middleware import Database
from octy_middleware.db.batch_transaction import BatchTransaction
from octy_middleware.db.bulk_sql import run
from octy_middleware.http.event import AuthEvent
from octy_middleware.recording.outcome_writer import OutcomeWriter
from proofs.load.reference_policy import LoggedOutcome

_NUMBER = {"sqlite": "INTEGER PRIMARY KEY AUTOINCREMENT", "postgresql": "BIGSERIAL PRIMARY KEY"}
_ADD = "INSERT INTO commit_log (process, bulk, batch) VALUES (?, ?, ?)"
_READ = "SELECT process, bulk, batch FROM commit_log ORDER BY seq"

_current = threading.local()  # `batch`: what the recorder's thread is writing


class Commit(NamedTuple):
    """One transaction of a recorder. `bulk`: it had more keys than are locked one by one."""

    process: int
    bulk: bool
    batch: tuple[LoggedOutcome, ...]


class LoggedDatabase(Database):
    """A database whose recorder's transactions each leave a row in the log."""

    @contextmanager
    def write_batch(self, keys: Collection[str] | None, *queries: Any, **options: Any) -> Iterator[BatchTransaction]:
        with super().write_batch(keys, *queries, **options) as transaction:
            yield transaction
            if (batch := getattr(_current, "batch", None)) is not None:
                rows = json.dumps([(str(e.outcome), e.at, e.source, e.public_key, e.request_id) for e in batch])
                run(transaction.connection, _ADD, os.getpid(), int(keys is None), rows)


def log_batches() -> None:
    """Let every outcome writer of this process say which batch it writes."""
    plain = OutcomeWriter.write

    def write(self: OutcomeWriter, batch: Sequence[AuthEvent]) -> None:
        _current.batch = batch
        try:
            plain(self, batch)
        finally:
            _current.batch = None

    OutcomeWriter.write = write  # type: ignore[method-assign]


def create_commit_log(database: Database) -> None:
    number = _NUMBER[database.engine.dialect.name]
    with database.write() as connection:
        run(connection, f"CREATE TABLE commit_log (seq {number}, process BIGINT, bulk INTEGER, batch TEXT)")


def read_commit_log(database: Database) -> list[Commit]:
    with database.read() as connection:
        rows = run(connection, _READ).all()
    return [
        Commit(process, bool(bulk), tuple(LoggedOutcome(*o) for o in json.loads(text))) for process, bulk, text in rows
    ]
