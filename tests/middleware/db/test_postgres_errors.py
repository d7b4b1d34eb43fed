"""What errors of PostgreSQL may show: no password and no stored value."""

import logging
import traceback
from contextlib import suppress
from functools import partial
from urllib.parse import quote

import psycopg
import pytest
from sqlalchemy.exc import DBAPIError, IntegrityError
from support.postgres import shared_server
from support.world import World

from octy_middleware import Database, DatabaseUnavailableError, InvalidInputError, Settings
from octy_middleware.db import bulk_sql
from octy_middleware.db.schema_version import check_schema
from octy_middleware.recording import counters, streak_table
from octy_worker.settings import WorkerSettings

CANARY = "s3cr3t-canary"


@pytest.fixture
def database_kind() -> str:
    return "postgresql"


def write(world: World, statement: str, value: str) -> None:
    with world.database.write() as connection:
        bulk_sql.run(connection, statement, value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://canary:{0}@127.0.0.1:{1}/octy",
        "postgresql://canary@127.0.0.1:{1}/octy?password={0}",
        "postgresql://canary:{0}@127.0.0.1:{1}/octy?sslmode=require",
        "postgresql://canary:{0}@127.0.0.1:9/octy",
        "postgresql://canary:{0}@127.0.0.1:{1}/octy?sslmode=nonsense",
    ],
)
def test_no_error_no_log_and_no_repr_shows_the_password(url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, logger="sqlalchemy")
    full = url.format(quote(f"{CANARY}/@:", safe=""), shared_server().port)
    database = Database(full)
    keys = "k1:" + "ab" * 32
    settings = Settings.build(database_url=full, peppers=keys)
    worker = WorkerSettings.build(database_url=full, peppers=keys, sealing_keys=keys, link_keys=keys)
    shown = [repr(settings), str(settings), repr(worker), repr(database), repr(database.engine), repr(database.url)]
    shown += [str(database.url), database.backend.display_name, database.url.render_as_string()]
    for use in (database.read, database.write, partial(check_schema, database), lambda: database.listen().wait(0.1)):
        with pytest.raises(DatabaseUnavailableError) as caught:
            getattr(use(), "__enter__", list)()
        shown.append("".join(traceback.format_exception(caught.value)))
    assert CANARY not in "".join(shown) + caplog.text


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO account (id, reference) VALUES ('1', ?)",  # a row with NULLs where none may be
        "INSERT INTO key_change (seq, public_key, at) VALUES (1, ?, 1), (1, 'x', 1)",
        "INSERT INTO notice (id, account_id, kind, detail, at) VALUES ('1', ?, 'x', '{}', 1)",
    ],
)
def test_errors_of_the_server_show_no_stored_values(world: World, statement: str) -> None:
    """Its details show whole rows: digests, sealed secrets, addresses. Such errors end up in logs and histories."""
    with pytest.raises(IntegrityError, match="violates") as caught:
        write(world, statement, CANARY)
    assert CANARY not in "".join(traceback.format_exception(caught.value))


def test_nul_character_raises_invalid_input(world: World) -> None:
    with pytest.raises(InvalidInputError, match="a text contains a NUL character"):
        write(world, "INSERT INTO key_change (public_key, at) VALUES (?, 1)", "a\0b")
    with pytest.raises(InvalidInputError, match="a text contains a NUL character"), world.database.read() as connection:
        bulk_sql.run(connection, "SELECT 1 FROM account WHERE reference = ?", "\0")
    assert world.rows("SELECT * FROM key_change") == []


@pytest.mark.parametrize("texts", [["a\0b"], ["a", 'b"\0'], [None, "\0"]])
def test_nul_character_in_input_rows_raises_and_is_not_cut_off(world: World, texts: list[str | None]) -> None:
    """libpq takes a text in its own form to end at a NUL."""
    with pytest.raises(ValueError, match="a text contains a NUL character"), world.database.read() as connection:
        bulk_sql.fetch_many(connection, (bulk_sql.Query(("input.name",), "{input}", name="text"), [[t] for t in texts]))


def test_commit_of_an_aborted_transaction_raises(world: World) -> None:
    """The server answers such a COMMIT with ROLLBACK and without an error."""
    with (
        pytest.raises(DatabaseUnavailableError, match="rolled the transaction back"),
        world.database.write_batch({"pk_a"}) as transaction,
        suppress(DBAPIError),
    ):
        bulk_sql.run(transaction.connection, "SELECT 1 / 0")


def test_errors_of_bulk_sql_show_no_stored_values(world: World) -> None:
    row = (1, CANARY, "h", 1, "o" * 500, "s", "c", "m", "p", "r")
    with pytest.raises(psycopg.DataError) as caught, world.database.write_batch(None) as transaction:
        transaction.add(counters.ADD_ATTEMPTS, [row])
    assert "too long" in str(caught.value)
    run_twice = [("pk_a", "n", 1, 1, 1), ("pk_a", "n", 1, 1, 1)]
    with pytest.raises(psycopg.errors.CardinalityViolation) as again, world.database.write_batch(None) as transaction:
        transaction.add(streak_table.UPSERT, run_twice)
    for error in (caught.value, again.value):
        shown = "".join(traceback.format_exception(error))
        assert CANARY not in shown
        assert "DETAIL" not in shown
        assert "HINT" not in shown


def test_error_that_is_not_the_drivers_is_raised_as_it_is(world: World) -> None:
    with pytest.raises(UnicodeEncodeError, match="surrogates"), world.database.read() as connection:
        bulk_sql.run(connection, "SELECT 1 FROM account WHERE reference = ?", "\ud800")
