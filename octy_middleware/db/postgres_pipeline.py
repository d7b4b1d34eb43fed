"""Several statements in one message to a PostgreSQL server, prepared by the session, through psycopg's libpq wrapper.

psycopg's own pipeline mode gives each statement a system call, in which another thread may take the GIL, and some 30 µs
of Python.
"""

from collections.abc import Sequence
from contextlib import suppress
from itertools import compress, count
from typing import Any, TypeAlias, cast

import psycopg
from psycopg import OperationalError, errors, generators, pq
from psycopg.abc import PQGen
from psycopg.pq.abc import PGconn, PGresult
from sqlalchemy import Connection

POOLED = "octy_pooled"
"""In a connection's `info`: whether a pooler may lead each transaction to another session."""
_PREPARED = "octy_prepared"  # in a connection's `info`: names of the session's prepared statements, by their text
_NUMBERS = count(1)  # of prepared statements: a name is never used again

Statement: TypeAlias = tuple[bytes, Sequence[bytes | None]]
"""A text with `$1`, `$2`, …, and its parameters in PostgreSQL's text form."""


def run_together(connection: Connection, *statements: Statement) -> list[PGresult]:
    """Run the statements, in order and in one message, and return the result of each.

    Raises the driver's error of the first that fails; those after it are not run.
    """
    driver = cast("psycopg.Connection[Any]", connection.connection.driver_connection)
    prepared = None if connection.info[POOLED] else connection.info.setdefault(_PREPARED, {})
    pgconn = driver.pgconn
    pgconn.enter_pipeline_mode()
    try:
        are_wanted = [wanted for statement in statements for wanted in _send(pgconn, statement, prepared)]
        pgconn.pipeline_sync()
        results = driver.wait(_receive(pgconn, len(are_wanted)))
    except BaseException:
        if prepared is not None:
            prepared.clear()  # which of them were prepared is not known
        with suppress(OperationalError):  # the connection is lost, or waiting for it was interrupted
            pgconn.exit_pipeline_mode()
        raise
    pgconn.exit_pipeline_mode()
    return list(compress(results, are_wanted))


def row_of(result: PGresult) -> list[bytes | None]:
    """Return the only row of a result, in PostgreSQL's text form."""
    return [result.get_value(0, column) for column in range(result.nfields)]


def _send(pgconn: PGconn, statement: Statement, prepared: dict[bytes, bytes] | None) -> tuple[bool, ...]:
    """Queue a statement; return for each result that the server will send whether it is that of the statement."""
    text, values = statement
    if prepared is None:
        pgconn.send_query_params(text, values)
        return (True,)
    if text in prepared:
        pgconn.send_query_prepared(prepared[text], values)
        return (True,)
    prepared[text] = b"octy_%d" % next(_NUMBERS)
    pgconn.send_prepare(prepared[text], text)
    pgconn.send_query_prepared(prepared[text], values)
    return False, True


def _receive(pgconn: PGconn, number: int) -> PQGen[list[PGresult]]:
    """Send what is queued and return so many results. Reads while it writes, so neither side waits for the other."""
    yield from generators.send(pgconn)
    results: list[PGresult] = []
    failed: PGresult | None = None
    for _ in range(number + 1):  # the last is that of the synchronization
        try:
            found = yield from generators.fetch_many(pgconn)
        except OperationalError:
            if failed is None:
                raise
            break  # the server has said why, and closed the connection
        results += found
        failed = failed or next((result for result in found if result.status == pq.ExecStatus.FATAL_ERROR), None)
    if failed is not None:
        raise errors.error_from_result(failed)
    return results[:number]
