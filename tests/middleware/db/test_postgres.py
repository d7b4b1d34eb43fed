"""PostgreSQL that is stopped, restarted, hanging or misconfigured, and what its errors may show."""

import logging
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError
from support.databases import make_database
from support.postgres import PostgresServer, shared_server
from support.world import World

from octy_middleware import ConfigurationError, Database, DatabaseUnavailableError, InvalidInputError, Settings
from octy_middleware.db import bulk_sql
from octy_middleware.db.backend import WriteMode
from octy_middleware.db.schema_version import check_schema, check_schema_if_available, read_schema_version
from octy_middleware.recording import counters, streak_table
from octy_worker.settings import WorkerSettings

CANARY = "s3cr3t-canary"


@pytest.fixture
def database_kind() -> str:
    return "postgresql"


@pytest.fixture(scope="module")
def own() -> Iterator[PostgresServer]:
    """A server that may be stopped."""
    with PostgresServer() as server:
        yield server


@pytest.fixture
def away(own: PostgresServer, tmp_path: Path) -> Iterator[Database]:
    """A database of that server."""
    own.start()
    database = Database(make_database(tmp_path, "postgresql", own))
    yield database
    own.resume()
    database.close()


def count(database: Database) -> int:
    with database.read() as connection:
        return int(connection.execute(text("SELECT COUNT(*) FROM key_change")).scalar_one())


def put(database: Database, public_key: str = "pk_x") -> None:
    with database.write() as connection:
        bulk_sql.run(connection, "INSERT INTO key_change (public_key, at) VALUES (?, 1)", public_key)


# Away, and back


@pytest.mark.parametrize("end", ["fast", "immediate", "kill"])
def test_stopped_server_is_unavailable_and_nothing_is_lost_after_its_restart(
    own: PostgresServer, away: Database, end: str
) -> None:
    put(away)
    with away.read(), away.read():
        pass  # two connections in the pool
    if end == "kill":
        own.kill()
    else:
        own.stop(end)
    for use in (away.read, away.write, partial(read_schema_version, away), partial(check_schema, away)):
        with pytest.raises(DatabaseUnavailableError, match=r"the database did not answer: .*refused"):
            use().__enter__()
    check_schema_if_available(away)  # a host app starts without it
    own.start()
    for _ in range(3):
        assert count(away) == 1
    put(away)
    assert count(away) == 2


def test_pool_reconnects_after_restart(own: PostgresServer, away: Database) -> None:
    with away.read(), away.read(), away.read():
        pass
    own.stop()
    own.start()
    for _ in range(3):
        put(away)
    assert count(away) == 3


def test_pinned_connection_reconnects_after_restart(own: PostgresServer, away: Database) -> None:
    pinned = away.pin_connection()

    def number() -> int:
        cells = away.query(pinned, lambda some: some.connection.driver_connection.execute("SELECT 42").fetchall())  # type: ignore[union-attr]
        return int(cells[0][0])

    with away.read(), away.read():
        assert number() == 42
    for write_first in (False, True):
        own.stop()
        own.start()
        if write_first:
            with away.write_batch({"pk_x"}, pinned=pinned) as transaction:
                bulk_sql.run(transaction.connection, "INSERT INTO key_change (public_key, at) VALUES ('pk_x', 1)")
        assert number() == 42
    assert count(away) == 1


def test_restart_inside_a_transaction_rolls_it_back_and_raises(own: PostgresServer, away: Database) -> None:
    with pytest.raises(DatabaseUnavailableError), away.write() as connection:
        bulk_sql.run(connection, "INSERT INTO key_change (public_key, at) VALUES ('pk_lost', 1)")
        own.stop("immediate")
        own.start()
        bulk_sql.run(connection, "INSERT INTO key_change (public_key, at) VALUES ('pk_lost', 2)")
    assert count(away) == 0


def test_hanging_server_is_unavailable_and_continues_afterwards(own: PostgresServer, away: Database) -> None:
    put(away)
    newcomer = Database(away.url.render_as_string(hide_password=False))
    done: list[int] = []
    own.pause()
    begun = time.monotonic()
    with pytest.raises(DatabaseUnavailableError, match="timeout"), newcomer.read():
        pass
    assert time.monotonic() - begun < 10
    check_schema_if_available(newcomer)
    waiting = threading.Thread(target=lambda: (put(away), done.append(count(away))))
    waiting.start()
    waiting.join(0.3)
    assert done == []
    own.resume()
    waiting.join(30)
    assert done == [2]
    newcomer.close()


def test_lock_timeout_raises_database_unavailable(world: World) -> None:
    short = Database(world.url, busy_timeout=0.1)
    with world.database.write(), pytest.raises(DatabaseUnavailableError, match="lock timeout"), short.write():
        pass
    with short.write():
        pass
    short.close()


def test_error_rolls_back_the_transaction_and_the_connection_stays_usable(world: World) -> None:
    put(world.database)
    with pytest.raises(IntegrityError, match="duplicate key"), world.database.write() as connection:
        bulk_sql.run(connection, "INSERT INTO key_change (seq, public_key, at) VALUES (99, 'a', 1)")
        bulk_sql.run(connection, "INSERT INTO key_change (seq, public_key, at) VALUES (99, 'b', 1)")
    assert count(world.database) == 1


def test_read_transaction_is_repeatable_and_read_only(world: World) -> None:
    with world.database.read() as connection:
        before = connection.execute(text("SELECT COUNT(*) FROM key_change")).scalar_one()
        put(world.database)
        assert connection.execute(text("SELECT COUNT(*) FROM key_change")).scalar_one() == before
    with pytest.raises(DatabaseUnavailableError, match="read-only"), world.database.read() as connection:
        bulk_sql.run(connection, "INSERT INTO key_change (public_key, at) VALUES ('x', 1)")


def test_import_mode_writes_while_all_other_modes_write(world: World) -> None:
    quick = Database(world.url, busy_timeout=0.2)
    with world.database.write(mode=WriteMode.IMPORT):
        for other in WriteMode:
            with quick.write(mode=other):
                pass
    quick.close()


# Not as expected


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("{server}/nowhere", 'database "nowhere" does not exist'),
        ("postgresql://stranger@127.0.0.1:{port}/postgres", 'role "stranger" does not exist'),
        ("postgresql://octy@127.0.0.1:9/octy", "refused"),
        ("postgresql://octy@nowhere.invalid/octy", "nowhere.invalid"),
        ("{server}/postgres?sslmode=require", "SSL"),
        ("{server}/postgres?sslmode=nonsense", "sslmode"),
        ("{server}/postgres?sslrootcert=/none.pem&sslmode=verify-full", "SSL"),
    ],
)
def test_connection_error_is_one_line(url: str, told: str) -> None:
    server = shared_server()
    database = Database(url.format(server=server.url("x")[:-2], port=server.port))
    with pytest.raises(DatabaseUnavailableError, match="the database did not answer") as caught, database.read():
        pass
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql://octy@host", "name the database"),
        ("postgresql+psycopg2://octy@host/octy", "psycopg 3"),
        ("postgresql+asyncpg://octy@host/octy", "psycopg 3"),
        ("postgresql://octy@host:many/octy", "this is no URL"),
        ("postgresql://octy@host/octy?nonsense=1", 'invalid connection option "nonsense"'),
        (f"postgresql://octy:x@{CANARY}@host/octy", "write @ as %40"),
        (f"postgresql://octy:@host:{CANARY}/octy", "this is no URL"),
    ],
)
def test_invalid_url_is_rejected_without_showing_it(url: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told) as caught:
        Database(url)
    assert CANARY not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("form", ["postgresql", "postgres", "postgresql+psycopg"])
def test_options_of_the_url_reach_the_driver_and_win(form: str) -> None:
    url = shared_server().url("postgres").replace("postgresql", form, 1)
    database = Database(f"{url}?application_name=ours&options=-c%20statement_timeout%3D4711&sslmode=disable")
    with database.read() as connection:
        seen = [
            connection.execute(text(f"SHOW {name}")).scalar_one() for name in ("application_name", "statement_timeout")
        ]
        info = connection.connection.driver_connection.info
        assert (seen, info.get_parameters()["sslmode"]) == (["ours", "4711ms"], "disable")
    database.close()
    plain = Database(url)
    with plain.read() as connection:
        assert connection.execute(text("SHOW application_name")).scalar_one() == "octy"
    plain.close()


def test_missing_psycopg_error_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from octy_middleware import Database, ConfigurationError\n"
        "try:\n    Database('postgresql://octy@host/octy')\n"
        "except ConfigurationError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'octy-middleware[postgres]'" in done.stdout


def test_commits_are_durable_whatever_the_server_default(world: World) -> None:
    name = world.url.rpartition("/")[2]
    with psycopg.connect(world.url, autocommit=True) as driver:
        driver.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
    fresh = Database(world.url)
    with fresh.read() as connection:
        assert connection.execute(text("SHOW synchronous_commit")).scalar_one() == "on"
    fresh.close()


# Secrets and values


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


def test_wrong_password_is_reported_and_not_shown(own: PostgresServer, away: Database) -> None:
    """The server that tests use trusts everybody; for one user it is told to ask."""
    with psycopg.connect(own.url("postgres"), autocommit=True) as driver:
        driver.execute("DROP ROLE IF EXISTS asked")
        driver.execute("CREATE ROLE asked LOGIN PASSWORD 'right'")
        [(path,)] = driver.execute("SHOW hba_file").fetchall()
        rules = Path(path).read_text()
        Path(path).write_text(f"host all asked 127.0.0.1/32 scram-sha-256\n{rules}")
        driver.execute("SELECT pg_reload_conf()")
    url = away.url.render_as_string(hide_password=False)
    wrong, right = (Database(url.replace("octy@", f"asked:{word}@")) for word in (CANARY, "right"))
    deadline = time.monotonic() + 60
    while True:  # the server takes its new rules in its own time
        try:
            with wrong.read():
                assert time.monotonic() < deadline
        except DatabaseUnavailableError as error:
            told = "".join(traceback.format_exception(error))
            break
        wrong.close()
    assert "password authentication failed" in told
    assert CANARY not in told
    with right.read():
        pass
    right.close()
    with pytest.raises(DatabaseUnavailableError, match="permission denied"), right.write() as connection:
        bulk_sql.run(connection, "INSERT INTO key_change (public_key, at) VALUES ('x', 1)")
    right.close()
    Path(path).write_text(rules)


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
    with pytest.raises(IntegrityError, match="violates") as caught, world.database.write() as connection:
        bulk_sql.run(connection, statement, CANARY)
    assert CANARY not in "".join(traceback.format_exception(caught.value))


def test_nul_character_raises_invalid_input(world: World) -> None:
    with pytest.raises(InvalidInputError, match="a text contains a NUL character"):
        put(world.database, "a\0b")
    with pytest.raises(InvalidInputError, match="a text contains a NUL character"), world.database.read() as connection:
        bulk_sql.run(connection, "SELECT 1 FROM account WHERE reference = ?", "\0")
    assert count(world.database) == 0


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


def test_refresh_statistics_counts_the_imported_rows(world: World) -> None:
    with world.database.write(mode=WriteMode.IMPORT) as connection:
        bulk_sql.run(
            connection, "INSERT INTO key_change (public_key, at) SELECT 'k' || i, 1 FROM generate_series(1, 5000) i"
        )
        world.database.refresh_statistics(connection, "key_change")
    [(rows,)] = world.rows("SELECT reltuples FROM pg_class WHERE relname = 'key_change'")
    assert rows >= 5000
