"""PostgreSQL that is stopped, restarted, hanging or misconfigured."""

import os
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from support.databases import make_database
from support.postgres import PostgresServer, shared_server
from support.until import until
from support.world import World

from middleware.db.key_changes import changed_keys, put_change
from octy_middleware import ConfigurationError, Database, DatabaseUnavailableError
from octy_middleware.db import bulk_sql
from octy_middleware.db.backend import WriteMode
from octy_middleware.db.schema_version import check_schema, check_schema_if_available, read_schema_version

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


# Away, and back


@pytest.mark.parametrize("end", ["fast", "immediate", "kill"])
def test_stopped_server_is_unavailable_and_nothing_is_lost_after_its_restart(
    own: PostgresServer, away: Database, end: str
) -> None:
    put_change(away)
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
        assert len(changed_keys(away)) == 1
    put_change(away)
    assert len(changed_keys(away)) == 2


def test_pool_reconnects_after_restart(own: PostgresServer, away: Database) -> None:
    with away.read(), away.read(), away.read():
        pass
    own.stop()
    own.start()
    for _ in range(3):
        put_change(away)
    assert len(changed_keys(away)) == 3


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
    assert len(changed_keys(away)) == 1


def test_restart_inside_a_transaction_rolls_it_back_and_raises(own: PostgresServer, away: Database) -> None:
    with pytest.raises(DatabaseUnavailableError), away.write() as connection:
        bulk_sql.run(connection, "INSERT INTO key_change (public_key, at) VALUES ('pk_lost', 1)")
        own.stop("immediate")
        own.start()
        bulk_sql.run(connection, "INSERT INTO key_change (public_key, at) VALUES ('pk_lost', 2)")
    assert len(changed_keys(away)) == 0


def test_connection_lost_during_the_commit_of_a_batch_is_unavailable(world: World) -> None:
    sleep = bulk_sql.Batch(
        "INSERT INTO key_change (public_key, at) SELECT 'pk_x', 1 FROM {input}, pg_sleep(60)", number="bigint"
    )
    with pytest.raises(DatabaseUnavailableError), world.database.write_batch({"pk_x"}) as transaction:
        transaction.add(sleep, [(1,)])
        own_end = socket.socket(fileno=os.dup(transaction.connection.connection.driver_connection.fileno()))
        cut = threading.Timer(0.3, own_end.shutdown, [socket.SHUT_RDWR])
        cut.start()
    cut.join()
    own_end.close()
    assert changed_keys(world.database) == []


def test_hanging_server_is_unavailable_and_continues_afterwards(own: PostgresServer, away: Database) -> None:
    put_change(away)
    fresh = Database(away.url.render_as_string(hide_password=False))
    done: list[int] = []
    own.pause()
    begun = time.monotonic()
    with pytest.raises(DatabaseUnavailableError, match="timeout"), fresh.read():
        pass
    assert time.monotonic() - begun < 10
    check_schema_if_available(fresh)
    waiting = threading.Thread(target=lambda: (put_change(away), done.append(len(changed_keys(away)))))
    waiting.start()
    waiting.join(0.3)
    assert done == []
    own.resume()
    waiting.join(30)
    assert done == [2]
    fresh.close()


def test_lock_timeout_raises_database_unavailable(world: World) -> None:
    short = Database(world.url, busy_timeout=0.1)
    with world.database.write(), pytest.raises(DatabaseUnavailableError, match="lock timeout"), short.write():
        pass
    with short.write():
        pass
    short.close()


def test_error_rolls_back_the_transaction_and_the_connection_stays_usable(world: World) -> None:
    put_change(world.database)
    with pytest.raises(IntegrityError, match="duplicate key"), world.database.write() as connection:
        bulk_sql.run(connection, "INSERT INTO key_change (seq, public_key, at) VALUES (99, 'a', 1)")
        bulk_sql.run(connection, "INSERT INTO key_change (seq, public_key, at) VALUES (99, 'b', 1)")
    assert len(changed_keys(world.database)) == 1


def test_read_transaction_is_repeatable_and_read_only(world: World) -> None:
    with world.database.read() as connection:
        before = connection.execute(text("SELECT COUNT(*) FROM key_change")).scalar_one()
        put_change(world.database)
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
        ("postgresql://unknown@127.0.0.1:{port}/postgres", 'role "unknown" does not exist'),
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


def test_idle_session_timeout_of_the_server_does_not_end_the_listener(world: World) -> None:
    """It only listens: to the server it is idle, for hours."""
    name = world.database.url.database
    with world.database.write() as connection:
        connection.exec_driver_sql(f"ALTER DATABASE \"{name}\" SET idle_session_timeout = '200ms'")
    listener = world.database.listen()
    assert listener.wait(0.0)
    assert not listener.wait(1.0)
    listener.close()


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

    def error() -> str:
        try:
            with wrong.read():
                return ""
        except DatabaseUnavailableError as error:
            return "".join(traceback.format_exception(error))
        finally:
            wrong.close()

    told = until(error)  # the server takes its new rules in its own time
    assert "password authentication failed" in told
    assert CANARY not in told
    with right.read():
        pass
    right.close()
    with pytest.raises(DatabaseUnavailableError, match="permission denied"), right.write() as connection:
        bulk_sql.run(connection, "INSERT INTO key_change (public_key, at) VALUES ('x', 1)")
    right.close()
    Path(path).write_text(rules)


def test_refresh_statistics_counts_the_imported_rows(world: World) -> None:
    with world.database.write(mode=WriteMode.IMPORT) as connection:
        bulk_sql.run(
            connection, "INSERT INTO key_change (public_key, at) SELECT 'k' || i, 1 FROM generate_series(1, 5000) i"
        )
        world.database.refresh_statistics(connection, "key_change")
    [(rows,)] = world.rows("SELECT reltuples FROM pg_class WHERE relname = 'key_change'")
    assert rows >= 5000
