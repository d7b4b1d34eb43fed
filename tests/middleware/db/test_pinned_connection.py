"""Pinned connections work after a change of file, server or process."""

import gc
import sqlite3
import threading
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Connection
from support.databases import make_database, taken_away
from support.forks import in_child
from support.world import World

from octy_middleware import Database, DatabaseUnavailableError
from octy_middleware.db.bulk_sql import run
from octy_middleware.db.pinned_connection import PinnedConnection


def put(database: Database, pinned: PinnedConnection, public_key: str = "pk_x") -> None:
    with database.write_batch({public_key}, pinned=pinned) as transaction:
        run(transaction.connection, "INSERT INTO key_change (public_key, at) VALUES (?, 1)", public_key)


def keys(database: Database, pinned: PinnedConnection) -> list[str]:
    def question(connection: Connection) -> list[str]:
        rows = connection.connection.cursor()
        rows.execute("SELECT public_key FROM key_change ORDER BY seq")
        return [key for (key,) in rows.fetchall()]

    return database.query(pinned, question)


def driver_of(database: Database, pinned: PinnedConnection) -> object:
    return database.query(pinned, lambda connection: connection.connection.driver_connection)


def test_pinned_connection_is_replaced_after_an_exception(world: World) -> None:
    database, pinned = world.database, world.database.pin_connection()
    first = driver_of(database, pinned)
    put(database, pinned)
    assert driver_of(database, pinned) is first
    with pytest.raises(ZeroDivisionError), database.write_batch({"pk_lost"}, pinned=pinned) as transaction:
        run(transaction.connection, "INSERT INTO key_change (public_key, at) VALUES ('pk_lost', 1)")
        raise ZeroDivisionError
    assert driver_of(database, pinned) is not first
    assert keys(database, pinned) == ["pk_x"]


def test_pinned_connection_sees_commits_of_others_at_once(world: World) -> None:
    """A connection that kept a transaction open would go on reading an old state."""
    pinned = world.database.pin_connection()
    assert keys(world.database, pinned) == []
    world.rows("SELECT 1")
    put(world.database, world.database.pin_connection(), "pk_other")
    assert keys(world.database, pinned) == ["pk_other"]


def test_pinned_connection_reopens_after_close(world: World) -> None:
    pinned = world.database.pin_connection()
    first = driver_of(world.database, pinned)
    world.database.close()
    assert driver_of(world.database, pinned) is not first


def test_pinned_connection_in_use_stays_open_at_a_close(world: World) -> None:
    pinned, connect = PinnedConnection(timeout=0.01), world.database.engine.connect
    with pinned.use(connect, lambda _: True) as connection:
        pinned.close()
        assert run(connection, "SELECT 1").scalar() == 1
    with pinned.use(connect, lambda _: True) as again:
        assert again is connection
    pinned.close()
    assert connection.closed


def test_pinned_connection_is_used_again_after_an_outage(world: World) -> None:
    pinned = world.database.pin_connection()
    put(world.database, pinned, "pk_before")
    with taken_away(world.url):
        for _ in range(2):
            with pytest.raises(DatabaseUnavailableError):
                put(world.database, pinned, "pk_lost")
            with pytest.raises(DatabaseUnavailableError):
                keys(world.database, pinned)
    put(world.database, pinned, "pk_after")
    assert keys(world.database, pinned) == ["pk_before", "pk_after"]


@pytest.mark.sqlite
def test_replaced_file_is_used_at_once(world: World, tmp_path: Path) -> None:
    pinned = world.database.pin_connection()
    put(world.database, pinned, "pk_old")
    folder = tmp_path / "other"
    folder.mkdir()
    make_database(folder, "sqlite")
    for file in world.folder.glob("octy.db*"):
        file.unlink()
    (folder / "octy.db").rename(world.folder / "octy.db")
    assert keys(world.database, pinned) == []
    put(world.database, pinned, "pk_new")
    assert keys(world.database, pinned) == ["pk_new"]


def test_forked_child_has_its_own_pinned_connection(world: World) -> None:
    database, pinned, stop = world.database, world.database.pin_connection(), threading.Event()
    written = 0

    def keep_writing() -> None:
        nonlocal written
        while not stop.is_set():
            put(database, pinned, "pk_parent")
            written += 1

    writer = threading.Thread(target=keep_writing)
    writer.start()
    statuses = [in_child(lambda: put(database, pinned, "pk_child")) for _ in range(5)]
    stop.set()
    writer.join()
    assert statuses == [0] * 5
    found = keys(database, pinned)
    assert (found.count("pk_parent"), found.count("pk_child")) == (written, 5)
    with database.read() as connection:
        assert database.backend.integrity_problem(connection) == ""


def test_fork_inside_a_transaction_leaves_it_to_the_parent(world: World) -> None:
    """A thread that uses it for longer than a fork waits goes on; the child opens one of its own and ends neither's."""
    database, pinned, inside, go_on = (
        world.database,
        world.database.pin_connection(),
        threading.Event(),
        threading.Event(),
    )

    def hold() -> None:
        with pinned.use(database.engine.connect, lambda _connection: True) as connection:
            inside.set()
            go_on.wait(60)
            connection.exec_driver_sql("SELECT 1")

    holder = threading.Thread(target=hold)
    holder.start()
    assert inside.wait(60)

    def write() -> None:
        put(database, pinned, "pk_child")
        gc.collect()

    status = in_child(write)
    go_on.set()
    holder.join()
    assert status == 0
    assert keys(database, pinned) == ["pk_child"]


def test_collected_pinned_connection_is_closed(world: World) -> None:
    database = Database(world.url)
    driver = driver_of(database, database.pin_connection())
    del database
    gc.collect()
    with pytest.raises((sqlite3.ProgrammingError, psycopg.OperationalError), match="closed"):
        driver.execute("SELECT 1")  # type: ignore[attr-defined]


def test_collected_pinned_connections_free_the_pool(world: World) -> None:
    for _ in range(100):
        put(world.database, world.database.pin_connection())
    assert keys(world.database, world.database.pin_connection()) == ["pk_x"] * 100
