"""The database: URLs, transactions, outages, an empty database, and forks."""

import threading
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text
from support.databases import away_url, make_empty_database, taken_away
from support.forks import in_child
from support.world import World

from middleware.db.key_changes import changed_keys, put_change
from octy_middleware import ConfigurationError, Database, DatabaseUnavailableError, SchemaError
from octy_middleware.db.schema_version import check_schema, read_schema_version


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("not a url", "database_url"),
        ("sqlite://", "in-memory"),
        ("sqlite:///:memory:", "in-memory"),
        ("mysql://host/db", "give sqlite:///<file> or postgresql://"),
        ("sqlite+foo:///octy.db", "another driver"),
        ("sqlite:///octy.db?timeout=abc", "options"),
        ("sqlite:///file:octy.db?mode=memory&uri=true", "options"),
        ("sqlite:///a%00b.db", "give sqlite:///<file>"),
    ],
)
def test_unsupported_url_is_rejected_with_what_to_do(url: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Database(url)


def test_exception_rolls_the_transaction_back(world: World) -> None:
    with pytest.raises(RuntimeError, match="on purpose"), world.database.write() as connection:
        connection.execute(text("INSERT INTO key_change (public_key, at) VALUES ('pk_x', 1)"))
        raise RuntimeError("on purpose")
    assert changed_keys(world.database) == []


def test_empty_database_raises_schema_error_with_what_to_do(tmp_path: Path, database_kind: str) -> None:
    database = Database(make_empty_database(tmp_path, database_kind))
    assert read_schema_version(database) is None
    with pytest.raises(SchemaError, match="octy db upgrade"):
        check_schema(database)
    database.close()


def test_database_is_used_again_after_an_outage(world: World) -> None:
    put_change(world.database, "pk_old")
    with world.database.read(), world.database.read():
        pass  # two connections in the pool
    with taken_away(world.url):
        for use in (world.database.read, world.database.write) * 3:
            with pytest.raises(DatabaseUnavailableError), use():
                pass
    put_change(world.database, "pk_new")
    assert changed_keys(world.database) == ["pk_old", "pk_new"]


def test_database_that_closes_every_connection_is_unavailable(world: World) -> None:
    def close_and_ask(connection: Connection) -> None:
        driver: Any = connection.connection.driver_connection
        driver.close()
        driver.execute("SELECT 1")

    with pytest.raises(DatabaseUnavailableError, match="closes every connection"):
        world.database.query(world.database.pin_connection(), close_and_ask)
    put_change(world.database)
    assert changed_keys(world.database) == ["pk_x"]


def test_use_of_more_connections_than_the_pool_has_is_unavailable(world: World) -> None:
    database = Database(world.url, busy_timeout=0.1)
    with (
        ExitStack() as held,
        pytest.raises(DatabaseUnavailableError, match="all connections"),
    ):
        for _ in range(100):
            held.enter_context(database.read())
    with database.read():
        pass
    database.close()


def test_missing_database_raises_database_unavailable(tmp_path: Path, database_kind: str) -> None:
    database = Database(away_url(tmp_path, database_kind))
    with pytest.raises(DatabaseUnavailableError), database.write():
        pass
    with pytest.raises(DatabaseUnavailableError), database.read():
        pass


def test_forked_child_and_parent_write_at_the_same_time(world: World) -> None:
    """A thread of the parent writes all the time, as does the child: nothing is lost, and neither waits for ever."""
    stop = threading.Event()
    written = 0

    def keep_writing() -> None:
        nonlocal written
        while not stop.is_set():
            put_change(world.database, "pk_parent")
            written += 1

    writer = threading.Thread(target=keep_writing)
    writer.start()

    statuses = [in_child(lambda: put_change(world.database, "pk_child")) for _ in range(5)]
    stop.set()
    writer.join()
    assert statuses == [0] * 5
    assert Counter(changed_keys(world.database)) == {"pk_parent": written, "pk_child": 5}
    with world.database.read() as connection:
        assert world.database.backend.integrity_problem(connection) == ""
