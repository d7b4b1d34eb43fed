"""The database: transactions, the write lock between processes, schema releases, and what a fork may do."""

import os
import sqlite3
import stat
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import text
from support.databases import away_url, make_empty_database, taken_away
from support.forks import in_child
from support.fresh_processes import FRESH
from support.world import World

from octy_middleware import ConfigurationError, Database, DatabaseUnavailableError, SchemaError
from octy_middleware.db.database import notify
from octy_middleware.db.file_lock import FileLock
from octy_middleware.db.migrations import upgrade
from octy_middleware.db.schema_version import SCHEMA_VERSION, check_schema, read_schema_version


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


@pytest.mark.sqlite
def test_sqlite_is_durable_and_checks_foreign_keys(world: World) -> None:
    found = {name: world.rows(f"PRAGMA {name}")[0][0] for name in ("journal_mode", "synchronous", "foreign_keys")}
    assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


def test_exception_rolls_the_transaction_back(world: World) -> None:
    with pytest.raises(RuntimeError, match="on purpose"), world.database.write() as connection:
        connection.execute(text("INSERT INTO key_change (public_key, at) VALUES ('pk_x', 1)"))
        raise RuntimeError("on purpose")
    assert world.rows("SELECT COUNT(*) FROM key_change") == [(0,)]


def test_empty_database_raises_schema_error_with_what_to_do(tmp_path: Path, database_kind: str) -> None:
    database = Database(make_empty_database(tmp_path, database_kind))
    assert read_schema_version(database) is None
    with pytest.raises(SchemaError, match="octy db upgrade"):
        check_schema(database)
    database.close()


def test_database_is_used_again_after_an_outage(world: World) -> None:
    put_change(world, "pk_old")
    with world.database.read(), world.database.read():
        pass  # two connections in the pool
    with taken_away(world.url):
        for use in (world.database.read, world.database.write) * 3:
            with pytest.raises(DatabaseUnavailableError), use():
                pass
    put_change(world, "pk_new")
    assert changes(world) == ["pk_old", "pk_new"]


@pytest.mark.parametrize(("found", "message"), [("0000", "run `octy db upgrade`"), ("9999", "install the newer")])
def test_other_schema_version_raises_schema_error_with_what_to_do(world: World, found: str, message: str) -> None:
    with world.database.write() as connection:
        connection.execute(text("UPDATE octy_schema_version SET version_num = :found"), {"found": found})
    with pytest.raises(SchemaError, match=message):
        check_schema(world.database)


@pytest.mark.parametrize(("found", "message"), [("0000", "can.t migrate from there"), ("9999", "install the newer")])
def test_unknown_schema_is_left_unchanged(world: World, found: str, message: str) -> None:
    with world.database.write() as connection:
        connection.execute(text("UPDATE octy_schema_version SET version_num = :found"), {"found": found})
    with pytest.raises(SchemaError, match=f"at schema {found}, .*{message}"):
        upgrade(world.database)
    assert read_schema_version(world.database) == found


@pytest.mark.sqlite
def test_database_locked_by_another_program_is_unavailable(world: World) -> None:
    short = Database(world.url, busy_timeout=0.2)
    stranger = sqlite3.connect(world.folder / "octy.db", isolation_level=None)
    stranger.execute("BEGIN EXCLUSIVE")
    with pytest.raises(DatabaseUnavailableError, match="locked"), short.write():
        pass
    stranger.execute("ROLLBACK")
    stranger.close()
    with short.write():
        pass
    short.close()


def test_missing_database_raises_database_unavailable(tmp_path: Path, database_kind: str) -> None:
    database = Database(away_url(tmp_path, database_kind))
    with pytest.raises(DatabaseUnavailableError), database.write():
        pass
    with pytest.raises(DatabaseUnavailableError), database.read():
        pass


def _add(path: Path, times: int) -> None:
    lock = FileLock(path.with_suffix(".lock"))
    for _ in range(times):
        with lock.hold(30):
            value = int(path.read_text())
            path.write_text(str(value + 1))


def test_file_lock_excludes_processes_and_threads(tmp_path: Path) -> None:
    """A counter without any other protection: one lost update would show."""
    path = tmp_path / "counter"
    path.write_text("0")
    others = [FRESH.Process(target=_add, args=(path, 100)) for _ in range(2)]
    lock = FileLock(path.with_suffix(".lock"))

    def add_here() -> None:
        for _ in range(50):
            with lock.hold(30):
                path.write_text(str(int(path.read_text()) + 1))

    threads = [threading.Thread(target=add_here) for _ in range(4)]
    for worker in [*others, *threads]:
        worker.start()
    for worker in [*others, *threads]:
        worker.join()
    assert path.read_text() == "400"


def test_file_lock_timeout_raises_database_unavailable(tmp_path: Path) -> None:
    one, other = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    with one.hold(1), pytest.raises(DatabaseUnavailableError, match="another process"), other.hold(0.05):
        pass
    with other.hold(1):
        pass


def test_forked_child_and_parent_write_at_the_same_time(world: World) -> None:
    """A thread of the parent writes all the time, as does the child: nothing is lost, and neither waits for ever."""
    stop = threading.Event()
    written = 0

    def keep_writing() -> None:
        nonlocal written
        while not stop.is_set():
            with world.database.write() as connection:
                connection.execute(text("INSERT INTO key_change (public_key, at) VALUES ('pk_parent', 1)"))
            written += 1

    writer = threading.Thread(target=keep_writing)
    writer.start()

    def write() -> None:
        with world.database.write() as own:
            own.execute(text("INSERT INTO key_change (public_key, at) VALUES ('pk_child', 1)"))

    statuses = [in_child(write) for _ in range(5)]
    stop.set()
    writer.join()
    assert statuses == [0] * 5
    counts = dict(world.rows("SELECT public_key, COUNT(*) FROM key_change GROUP BY public_key"))
    assert counts == {"pk_parent": written, "pk_child": 5}
    with world.database.read() as connection:
        assert world.database.backend.integrity_problem(connection) == ""


@pytest.mark.sqlite
def test_full_disk_is_unavailable_and_its_error_shows_no_values(world: World) -> None:
    """Such errors end up in logs and in Temporal's histories; parameters hold digests and sealed secrets."""
    canary = "$octy-b2$canary" * 1000
    with pytest.raises(DatabaseUnavailableError, match="full") as caught, world.database.write() as connection:
        [(pages,)] = connection.exec_driver_sql("PRAGMA page_count").all()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        statement = text("INSERT INTO key_change (public_key, at) VALUES (:key, 1)")
        for _ in range(100):
            connection.execute(statement, {"key": canary})
    told = "".join(traceback.format_exception(caught.value))
    assert "OperationalError" in told
    assert canary[:40] not in told
    world.database.close()
    with world.database.write() as connection:
        connection.execute(text("INSERT INTO key_change (public_key, at) VALUES ('pk_later', 1)"))
    assert world.rows("SELECT public_key FROM key_change") == [("pk_later",)]


def put_change(world: World, public_key: str) -> None:
    with world.database.write() as connection:
        connection.execute(
            text("INSERT INTO key_change (public_key, at) VALUES (:public_key, 1)"), {"public_key": public_key}
        )


def changes(world: World) -> list[str]:
    return [row[0] for row in world.rows("SELECT public_key FROM key_change ORDER BY seq")]


@pytest.fixture
def other(world: World) -> Path:
    """Return a file that may take the database's place."""
    path = world.folder / "other.db"
    database = Database(f"sqlite:///{path}")
    upgrade(database)
    database.close()
    return path


def remove(world: World) -> None:
    for file in world.folder.glob("octy.db*"):
        file.unlink()


@pytest.mark.parametrize("use", ["read", "write"])
@pytest.mark.sqlite
def test_removed_file_is_unavailable_and_is_not_created_again(world: World, use: str) -> None:
    """Connections would go on in the unlinked file: refusals "on disk" where they will never be read."""
    put_change(world, "pk_old")
    remove(world)
    for _ in range(3):
        with pytest.raises(DatabaseUnavailableError), getattr(world.database, use)():
            pass
    assert not (world.folder / "octy.db").exists()


@pytest.mark.sqlite
def test_replaced_file_is_used_at_once(world: World, other: Path) -> None:
    put_change(world, "pk_old")
    remove(world)
    other.rename(world.folder / "octy.db")
    assert changes(world) == []
    put_change(world, "pk_new")
    assert changes(world) == ["pk_new"]


@pytest.mark.sqlite
def test_file_moved_back_has_lost_nothing(world: World, tmp_path: Path) -> None:
    """SQLite would make an empty file in its place, and delete the log in which the latest commits are."""
    put_change(world, "pk_old")
    path, away = world.folder / "octy.db", tmp_path / "away"
    path.rename(away)
    for use in (world.database.read, world.database.write) * 3:
        with pytest.raises(DatabaseUnavailableError), use():
            pass
    away.rename(path)
    put_change(world, "pk_new")
    assert changes(world) == ["pk_old", "pk_new"]


@pytest.mark.sqlite
def test_commit_into_a_removed_file_raises_database_unavailable(world: World, other: Path) -> None:
    put_change(world, "pk_old")
    with pytest.raises(DatabaseUnavailableError, match="removed or replaced"), world.database.write() as connection:
        connection.execute(text("INSERT INTO key_change (public_key, at) VALUES ('pk_lost', 1)"))
        other.replace(world.folder / "octy.db")


@pytest.mark.sqlite
def test_removed_file_found_by_one_thread_is_not_used_by_others(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each connection is compared for itself: none of them is lent out on the word of another."""
    with world.database.read(), world.database.read():
        pass  # two connections in the pool
    remove(world)
    with ThreadPoolExecutor(8) as threads:
        attempts = [threads.submit(_can_read, world) for _ in range(40)]
        assert not any(each.result() for each in attempts)


def _can_read(world: World) -> bool:
    try:
        with world.database.read():
            return True
    except DatabaseUnavailableError:
        return False


def test_relative_path_stays_valid_when_the_working_directory_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    database = Database("sqlite:///octy.db")
    upgrade(database)
    monkeypatch.chdir(tmp_path / "elsewhere")
    database.close()
    assert read_schema_version(database) == SCHEMA_VERSION
    with database.write():
        pass
    assert list((tmp_path / "elsewhere").iterdir()) == []
    database.close()


@pytest.mark.parametrize(
    ("path", "hint"), [("gone/octy.db", "create its folder first"), ("file/octy.db", "can't be created")]
)
def test_file_that_cannot_be_created_raises_an_error_with_what_to_do(tmp_path: Path, path: str, hint: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DatabaseUnavailableError, match=hint):
        upgrade(Database(f"sqlite:///{tmp_path / path}"))


@pytest.mark.parametrize("name", ["a b.db", "a%23b.db", "ä#.db", "a&mode=memory.db"])
def test_any_file_name_works(tmp_path: Path, name: str) -> None:
    database = Database(f"sqlite:///{tmp_path / name}")
    upgrade(database)
    assert read_schema_version(database) == SCHEMA_VERSION
    database.close()
    assert Path(str(database.url.database)).stat().st_size > 0


@pytest.mark.sqlite
def test_lock_file_has_the_rights_of_the_database_file(world: World) -> None:
    database, lock = world.folder / "octy.db", world.folder / "octy.db.lock-file"
    lock.unlink(missing_ok=True)
    database.chmod(0o666)
    fresh = Database(world.url)
    with fresh.write():
        pass
    assert stat.S_IMODE(lock.stat().st_mode) == 0o666
    assert (lock.stat().st_uid, lock.stat().st_gid) == (database.stat().st_uid, database.stat().st_gid)
    fresh.close()


def modes_beside(path: Path) -> dict[str, str]:
    return {file.name.removeprefix(path.name): oct(stat.S_IMODE(file.stat().st_mode)) for file in path.parent.iterdir()}


FILES = ("", "-wal", "-shm", ".lock-file", ".wake-up")


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o002])
def test_database_files_are_private_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    """Who may read a file may lock it: flock asks for no right to write, nor does a read lock on the log's index."""
    path = tmp_path / "octy.db"
    before = os.umask(umask)
    try:
        database = Database(f"sqlite:///{path}")
        upgrade(database)
        with database.write() as connection:
            notify(connection)
        assert modes_beside(path) == dict.fromkeys(FILES, "0o600")
        database.close()
    finally:
        os.umask(before)


@pytest.mark.parametrize(("given", "found"), [(0o644, "0o600"), (0o664, "0o660"), (0o660, "0o660"), (0o640, "0o600")])
def test_upgrade_makes_database_files_private(tmp_path: Path, given: int, found: str) -> None:
    path = tmp_path / "octy.db"
    path.touch()
    for file in (path, path.with_name("octy.db.lock-file"), path.with_name("octy.db.wake-up")):
        file.touch()
        file.chmod(given)
    database = Database(f"sqlite:///{path}")
    upgrade(database)
    with database.write() as connection:
        notify(connection)
    assert modes_beside(path) == dict.fromkeys(FILES, found)
    database.close()
