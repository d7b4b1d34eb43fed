"""A recorder's transaction on PostgreSQL (`Backend.begin_batch`, `Backend.commit_batch`): one message for each."""

from collections.abc import Sequence

from sqlalchemy import Connection

from octy_middleware.db.backend import WriteMode
from octy_middleware.db.bulk_sql import (
    Batch,
    InputRows,
    Queries,
    Row,
    bind_for_server,
    numbered,
    results_of,
    to_arrays,
)
from octy_middleware.db.postgres_locks import (
    IDLE,
    KEEP_DURABLE,
    LOCK_KEYS,
    LOCK_ROWS_MISSING,
    LOCKS,
    WRITE,
    key_slots,
    lock_timeout,
)
from octy_middleware.db.postgres_pipeline import POOLED, Statement, row_of, run_together
from octy_middleware.errors import DatabaseSetupError, DatabaseUnavailableError

_BEGIN = WRITE.encode()
_SET_TIMEOUTS = (
    b"SELECT set_config('idle_in_transaction_session_timeout', $1, true), set_config('lock_timeout', $2, true)"
)
_KEEP_DURABLE = KEEP_DURABLE.encode()
_LOCKS = {mode: [(lock.encode(), ()) for lock in locks] for mode, locks in LOCKS.items()}
_LOCK_KEYS = numbered(LOCK_KEYS)
_COMMIT = b"COMMIT"


def begin_batch(
    connection: Connection, public_keys: Sequence[str] | None, queries: Queries, timeout: float
) -> list[list[Row]]:
    """See `Backend`. One message to the server; each of its statements sees what its locks waited for."""
    mode = WriteMode.BULK_RECORDER if public_keys is None else WriteMode.RECORDER
    slots = key_slots(public_keys or ())
    asked = any(rows for _, rows in queries)
    statements: list[Statement] = [(_BEGIN, ()), (_SET_TIMEOUTS, (b"%ds" % IDLE[mode], b"%d" % lock_timeout(timeout)))]
    if connection.info[POOLED]:
        statements.append((_KEEP_DURABLE, ()))
    statements += _LOCKS[mode]
    if slots:
        statements.append((_LOCK_KEYS, to_arrays([(slot,) for slot in slots], ("int",))))
    if asked:
        statements.append(bind_for_server(queries))
    results = run_together(connection, *statements)
    found = results_of(queries, row_of(results.pop()) if asked else ())
    if slots and results[-1].ntuples != len(slots):
        raise DatabaseSetupError(LOCK_ROWS_MISSING)
    return found


def commit_batch(connection: Connection, writes: Sequence[tuple[Batch, InputRows]]) -> None:
    """See `Backend`. One message to the server. An error of a statement leaves the transaction open, and aborted."""
    statements: list[Statement] = [(batch.for_server, to_arrays(rows, batch.kinds)) for batch, rows in writes]
    *_, committed = run_together(connection, *statements, (_COMMIT, ()))
    if committed.command_status != _COMMIT:  # of an aborted transaction it is ROLLBACK, without an error
        raise DatabaseUnavailableError("the server rolled the transaction back")
