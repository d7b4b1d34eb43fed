"""An address that leads to a read-only standby for a while: the standby is never used, and recovery takes seconds."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from proofs.faults.tcp_proxy import TcpProxy
from sqlalchemy import text
from support.postgres import PostgresServer
from support.served import served
from support.until import until
from support.world import Keys, World

from middleware.db.key_changes import put_change
from octy_middleware import Database, DatabaseUnavailableError
from octy_middleware.auth.key_cache import KeyCache
from octy_middleware.db.bulk_sql import run
from octy_middleware.db.schema_version import check_schema
from octy_middleware.domain import key_pairs
from octy_middleware.domain.key_checks import PepperCheck
from octy_middleware.errors import StandbyError

HEALED = 5.0  # seconds


@pytest.fixture(scope="module")
def primary() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


@pytest.fixture
def world(primary: PostgresServer, tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path, "postgresql", primary)
    yield world
    world.close()


@pytest.fixture
def standby(primary: PostgresServer, world: World) -> Iterator[PostgresServer]:  # after its tables
    with PostgresServer(primary=primary) as server:
        yield server


@pytest.fixture
def proxy(primary: PostgresServer) -> Iterator[TcpProxy]:
    with TcpProxy(primary.port) as proxy:
        yield proxy


def by_way_of(world: World, port: int, options: str = "") -> str:
    return f"postgresql://octy@127.0.0.1:{port}/{world.url.rpartition('/')[2]}{options}"


def catch_up(world: World, standby: PostgresServer, keys: Keys) -> None:
    """Wait until the standby has the key pair, then let it learn nothing more."""
    with psycopg.connect(by_way_of(world, standby.port), autocommit=True) as driver:
        statement = "SELECT 1 FROM key_pair WHERE public_key = %s"
        until(lambda: driver.execute(statement, [keys.public_key]).fetchall())
        driver.execute("SELECT pg_wal_replay_pause()")


def retire(world: World, keys: Keys) -> None:
    with world.database.write() as connection:
        [(pair_id,)] = run(connection, "SELECT id FROM key_pair WHERE public_key = ?", keys.public_key).all()
        assert key_pairs.retire(connection, pair_id, time.time())


def test_key_pair_revoked_during_a_switch_to_a_standby_is_refused_after_the_switch_back(
    world: World, primary: PostgresServer, standby: PostgresServer, proxy: TcpProxy
) -> None:
    """Open connections stay: a process with one to the standby would read its old state for ever."""
    keys, other = world.register(), world.register("other")
    catch_up(world, standby, other)
    with served(world, by_way_of(world, proxy.port), grace_period=2.0, commit_timeout=2.0) as app:
        assert [app.ask(some.basic()) for some in (keys, other) for _ in range(2)] == [200] * 4
        proxy.fail_over(standby.port)
        retire(world, keys)
        until(lambda: app.ask(keys.basic()) == 503, timeout=6.0)  # after the grace, not the standby's "active"
        assert app.ask(other.basic()) == 503
        proxy.set_target(primary.port)  # connections to the standby, had there been any, stay
        until(lambda: app.ask(keys.basic()) == 401, HEALED)
        until(lambda: app.ask(other.basic()) == 200, HEALED)
        assert app.ask(other.basic("sk_wrong")) == 401  # recorded


@pytest.mark.parametrize("options", ["", "?target_session_attrs=any"])
def test_standby_is_neither_read_nor_written(world: World, standby: PostgresServer, options: str) -> None:
    keys = world.register()
    catch_up(world, standby, keys)
    database = Database(by_way_of(world, standby.port, options))
    key_cache = KeyCache(database, size=10, interval=0.05, grace_period=60.0, peppers=PepperCheck(world.peppers))
    pinned = database.pin_connection()
    for use in (
        lambda: database.read().__enter__(),
        lambda: key_cache.load(keys.public_key),
        lambda: put_change(database),
        lambda: check_schema(database),
        lambda: database.listen().wait(0.1),
    ):
        with pytest.raises(DatabaseUnavailableError, match=r"read-only|standby|takes no writes|during recovery"):
            use()
    assert key_cache.get_packed(keys.public_key.encode()) is None
    del pinned
    key_cache.close()
    database.close()


def test_pool_discards_connections_to_a_standby(
    world: World, primary: PostgresServer, standby: PostgresServer, proxy: TcpProxy
) -> None:
    """As with a connection pooler whose server was exchanged: the first use of one of them finds out."""
    keys = world.register()
    catch_up(world, standby, keys)
    proxy.set_target(standby.port)
    database = Database(by_way_of(world, proxy.port, "?target_session_attrs=any"))
    key_cache = KeyCache(database, size=10, interval=0.05, grace_period=60.0, peppers=PepperCheck(world.peppers))
    raw = [database.engine.connect() for _ in range(4)]
    for connection in raw:
        connection.exec_driver_sql("SELECT 1")
        connection.close()  # four open connections to the standby are in the pool
    proxy.set_target(primary.port)
    with database.read() as connection:
        assert connection.execute(text("SELECT pg_is_in_recovery()")).scalar_one() is False
    put_change(database)
    assert key_cache.load(keys.public_key) is not None
    with database.read(), database.read(), database.read():
        pass
    key_cache.close()
    database.close()


def test_pinned_connection_to_a_standby_is_discarded(
    world: World, primary: PostgresServer, standby: PostgresServer, proxy: TcpProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = world.register()
    catch_up(world, standby, keys)
    retire(world, keys)
    proxy.set_target(standby.port)
    database = Database(by_way_of(world, proxy.port, "?target_session_attrs=any"))
    pinned = database.pin_connection()
    monkeypatch.setattr(database, "pin_connection", lambda: pinned)
    key_cache = KeyCache(database, size=10, interval=0.05, grace_period=60.0, peppers=PepperCheck(world.peppers))
    database.query(pinned, lambda connection: connection.connection.cursor().execute("SELECT 1"))
    proxy.set_target(primary.port)
    record = key_cache.load(keys.public_key)
    assert record is not None
    assert record.state == "retired"
    key_cache.close()
    database.close()


def test_read_only_server_is_discarded_and_used_again_once_it_takes_writes(world: World) -> None:
    """SQLSTATE 25006 in the middle of a transaction: all connections are replaced, kept ones too."""
    database, name = Database(world.url), world.url.rpartition("/")[2]
    pinned = database.pin_connection()
    put_change(database)
    with database.write_batch({"pk_x"}, pinned=pinned):
        pass
    with psycopg.connect(world.url.replace(name, "postgres"), autocommit=True) as driver:
        driver.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        database.close()
        with pytest.raises(DatabaseUnavailableError, match="read-only"):
            put_change(database)
        driver.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = off")
    put_change(database)
    with database.read() as connection:
        before = connection.connection.driver_connection
    with pytest.raises(StandbyError), database.read() as connection:
        run(connection, "INSERT INTO key_change (public_key, at) VALUES ('pk_x', 1)")
    with database.read() as connection:
        assert connection.connection.driver_connection is not before
    database.close()


def test_listener_leaves_a_standby(
    world: World, primary: PostgresServer, standby: PostgresServer, proxy: TcpProxy
) -> None:
    catch_up(world, standby, world.register())
    database = Database(by_way_of(world, proxy.port))
    listener = database.listen()
    assert listener.wait(0.1)
    proxy.fail_over(standby.port)
    with pytest.raises(DatabaseUnavailableError):
        listener.wait(1.5)
    with pytest.raises(DatabaseUnavailableError, match="read-only"):
        listener.wait(0.1)
    proxy.set_target(primary.port)
    assert listener.wait(0.1)
    notifier = threading.Timer(0.2, lambda: notify(world))
    notifier.start()
    assert listener.wait(60)
    notifier.join()
    listener.close()
    database.close()


def notify(world: World) -> None:
    with world.database.write() as connection:
        world.database.backend.notify(connection)
