"""Key cache: bounded, changes seen at once here and within a second elsewhere, and unavailable databases."""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from multiprocessing.connection import Connection
from typing import Any

import pytest
from sqlalchemy import Connection as SqlConnection
from support.databases import taken_away
from support.fresh_processes import FRESH
from support.until import until
from support.world import Keys, World

from octy_middleware import Database, DatabaseUnavailableError
from octy_middleware.auth.key_cache import KeyCache
from octy_middleware.db.bulk_sql import run
from octy_middleware.domain import key_pairs
from octy_middleware.domain.key_checks import PepperCheck
from octy_middleware.keys.key_record import unpack
from octy_middleware.keys.keychain import Keychain
from octy_middleware.states import KeyPairState


def make_key_cache(database: Database, peppers: Keychain, **options: Any) -> KeyCache:
    given: dict[str, Any] = {"size": 10, "interval": 0.05, "grace_period": 60.0, **options}
    return KeyCache(database, peppers=PepperCheck(peppers), **given)


Make = Callable[..., KeyCache]


@pytest.fixture
def make(world: World) -> Iterator[Make]:
    """What makes a key cache of a database, by default of the world's own; closed at the end."""
    with ExitStack() as made:

        def make(database: Database | None = None, **options: Any) -> KeyCache:
            key_cache = make_key_cache(database or world.database, world.peppers, **options)
            made.callback(key_cache.close)
            return key_cache

        yield make


def is_cached(key_cache: KeyCache, keys: Keys) -> bool:
    return key_cache.get_packed(keys.public_key.encode()) is not None


def retire(world: World, keys: Keys) -> None:
    with world.database.write() as connection:
        [(pair_id,)] = run(connection, "SELECT id FROM key_pair WHERE public_key = ?", keys.public_key).all()
        assert key_pairs.retire(connection, pair_id, time.time())


def test_record_is_cached_after_its_first_load(world: World, make: Make) -> None:
    keys, key_cache = world.register(), make()
    assert not is_cached(key_cache, keys)
    record = key_cache.load(keys.public_key)
    assert record is not None
    assert record.reference == "acme"
    packed = key_cache.get_packed(keys.public_key.encode())
    assert packed is not None
    assert unpack(keys.public_key, packed) == record


def test_unknown_keys_are_not_cached_and_evict_nothing(world: World, make: Make) -> None:
    keys, key_cache = world.register(), make(size=1)
    key_cache.load(keys.public_key)
    for number in range(50):
        assert key_cache.load(f"pk_unknown{number:020}") is None
    assert is_cached(key_cache, keys)


def test_key_cache_is_bounded_and_evicts_the_oldest(world: World, make: Make) -> None:
    everybody = [world.register(f"customer{n}") for n in range(4)]
    key_cache = make(size=3)
    for keys in everybody:
        key_cache.load(keys.public_key)
    cached = [is_cached(key_cache, keys) for keys in everybody]
    assert cached == [False, True, True, True]


def test_change_in_this_process_is_seen_at_once_through_any_database_object(world: World, make: Make) -> None:
    keys, key_cache = world.register(), make(Database(world.url), interval=0.5)
    key_cache.load(keys.public_key)
    retire(world, keys)
    assert not is_cached(key_cache, keys)
    record = key_cache.load(keys.public_key)
    assert record is not None
    assert record.state == KeyPairState.RETIRED


def test_change_that_is_rolled_back_invalidates_nothing(world: World, make: Make) -> None:
    keys, key_cache = world.register(), make()
    key_cache.load(keys.public_key)
    with pytest.raises(RuntimeError), world.database.write() as connection:
        key_pairs.record_key_change(connection, keys.public_key, time.time())
        raise RuntimeError
    assert is_cached(key_cache, keys)
    retire(world, world.register("other"))
    assert is_cached(key_cache, keys)


def test_record_loaded_before_a_change_is_not_cached_after_it(world: World, make: Make) -> None:
    """The stale record of a read begun before the change must not stay for ever."""
    keys = world.register()

    def overtaken(_digest: str) -> bool:  # called between the read and the insertion
        retire(world, keys)
        return True

    key_cache = make(interval=0.5, is_cacheable=overtaken)
    stale = key_cache.load(keys.public_key)
    assert stale is not None
    assert stale.state == KeyPairState.ACTIVE
    assert not is_cached(key_cache, keys)


def _watch(url: str, peppers: str, public_key: str, pipe: Connection) -> None:
    key_cache = make_key_cache(Database(url), Keychain.parse(peppers, name="peppers"), interval=0.25)
    key_cache.load(public_key)
    pipe.send("ready")
    until(lambda: key_cache.get_packed(public_key.encode()) is None, interval=0.005)
    pipe.send(time.time())


def test_revoked_key_pair_is_dropped_by_another_process_within_a_second(world: World) -> None:
    keys = world.register()
    here, there = FRESH.Pipe()
    other = FRESH.Process(target=_watch, args=(world.url, world.peppers.export(), keys.public_key, there))
    other.start()
    assert here.recv() == "ready"
    retire(world, keys)
    retired_at = time.time()
    assert here.recv() - retired_at < 1.0
    other.join()


def test_cached_records_are_used_for_the_grace_period_of_an_outage(world: World, make: Make) -> None:
    keys = world.register()
    key_cache = make(interval=0.25, grace_period=2.0)
    key_cache.load(keys.public_key)
    with taken_away(world.url):
        begun, trusted = time.monotonic(), []
        while time.monotonic() - begun < 2.5:
            trusted.append((time.monotonic() - begun, is_cached(key_cache, keys)))
            time.sleep(0.02)
    assert max(at for at, some in trusted if some) < 2.1
    assert min(at for at, some in trusted if not some) > 1.5  # longer than a read alone is trusted for


@pytest.mark.sqlite
def test_load_without_a_database_raises(world: World, make: Make) -> None:
    key_cache = make()
    for file in world.folder.glob("octy.db*"):
        file.unlink()
    world.database.close()
    with pytest.raises(DatabaseUnavailableError):
        key_cache.load("pk_whatever1234567")


def test_closed_key_cache_starts_again_and_follows_the_feed(world: World, make: Make) -> None:
    keys, key_cache = world.register(), make(Database(world.url))
    key_cache.load(keys.public_key)
    key_cache.close()
    assert not is_cached(key_cache, keys)
    key_cache.load(keys.public_key)
    with world.database.write() as connection:  # as another process would: by the feed only
        run(connection, "INSERT INTO key_change (public_key, at) VALUES (?, 0)", keys.public_key)
    until(lambda: not is_cached(key_cache, keys))


def test_feed_reader_goes_on_after_an_unexpected_error(
    world: World, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(world.url)
    keys, key_cache = world.register(), make(database)
    key_cache.load(keys.public_key)
    read, faults = database.read, iter([ZeroDivisionError("a bug"), ValueError("another")])

    def stumble() -> AbstractContextManager[SqlConnection]:
        for fault in faults:
            raise fault
        return read()

    monkeypatch.setattr(database, "read", stumble)  # by which the feed is read
    with world.database.write() as connection:
        run(connection, "INSERT INTO key_change (public_key, at) VALUES (?, 0)", keys.public_key)
    until(lambda: not is_cached(key_cache, keys))
    assert next(faults, None) is None
    key_cache.close()
    database.close()


@pytest.mark.sqlite
def test_restored_backup_drops_all_cached_records(world: World, make: Make, caplog: pytest.LogCaptureFixture) -> None:
    """The feed then stands before what was read of it, and would hide the changes to come."""
    keys, other = world.register(), world.register("other")
    world.database.close()
    backup = world.folder / "backup.db"
    with sqlite3.connect(world.folder / "octy.db") as live, sqlite3.connect(backup) as copy:
        live.backup(copy)
    for connection in (live, copy):
        connection.close()
    retire(world, other)
    key_cache = make()
    key_cache.load(keys.public_key)
    with sqlite3.connect(backup) as copy, sqlite3.connect(world.folder / "octy.db") as live:
        copy.backup(live)
    for connection in (live, copy):
        connection.close()
    until(lambda: not is_cached(key_cache, keys))
    assert key_cache.restores_detected == 1
    [told] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert "change feed: went back" in told.message
    assert "octy db restored" in told.message


def test_gap_in_the_change_feed_drops_all_cached_records(world: World, make: Make) -> None:
    """As after a sleep longer than entries are kept: what changed meanwhile can't be read any more."""
    keys = world.register()
    key_cache = make(interval=0.5)
    key_cache.load(keys.public_key)
    with world.database.write() as connection:
        for _ in range(3):
            run(connection, "INSERT INTO key_change (public_key, at) VALUES ('pk_another', 0)")
        run(connection, "DELETE FROM key_change WHERE seq < (SELECT MAX(seq) FROM key_change)")
    until(lambda: not is_cached(key_cache, keys))


def test_record_with_an_unknown_state_is_loaded_each_time(world: World, make: Make) -> None:
    keys, key_cache = world.register(), make()
    world.set_state(keys, "of-a-later-one")
    record = key_cache.load(keys.public_key)
    assert record is not None
    assert record.state == "of-a-later-one"
    assert not is_cached(key_cache, keys)


def test_renewed_key_pair_that_cannot_be_loaded_again_does_not_end_the_feed_reader(
    world: World, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys, key_cache, failed = world.register(), make(Database(world.url)), threading.Event()

    def away(_public_key: str) -> None:
        failed.set()
        raise DatabaseUnavailableError("away")

    def change() -> None:  # as another process would: by the feed only
        with world.database.write() as connection:
            run(connection, "INSERT INTO key_change (public_key, at) VALUES (?, 0)", keys.public_key)
        until(lambda: not is_cached(key_cache, keys))

    key_cache.reload_renewed(keys.public_key)
    with monkeypatch.context() as outage:
        outage.setattr(key_cache, "load", away)
        change()
        assert failed.wait(60)
    key_cache.load(keys.public_key)
    change()


@pytest.mark.parametrize("fails", [True, False])
def test_read_of_the_feed_that_ends_after_a_stop_extends_no_trust(
    world: World, make: Make, monkeypatch: pytest.MonkeyPatch, *, fails: bool
) -> None:
    database = Database(world.url)
    keys, key_cache, read = world.register(), make(database), database.read
    reading, stopped = threading.Event(), threading.Event()

    def hang() -> AbstractContextManager[SqlConnection]:
        thread = threading.current_thread()
        join = thread.join

        def wait(timeout: float | None = None) -> None:
            stopped.set()
            join(timeout)

        thread.join = wait  # type: ignore[method-assign]  # the stop waits for this thread
        reading.set()
        assert stopped.wait(60)
        if fails:
            raise DatabaseUnavailableError("away")
        return read()

    key_cache.load(keys.public_key)
    monkeypatch.setattr(database, "read", hang)
    assert reading.wait(60)
    trusted_until = key_cache.memory.trusted_until
    key_cache.stop()
    assert key_cache.memory.trusted_until == trusted_until
