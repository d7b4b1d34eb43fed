"""SQLite files: durable, private, full, locked, moved, removed or replaced."""

import errno
import fcntl
import os
import shutil
import sqlite3
import stat
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import event, text
from support.world import World

from middleware.db.key_changes import changed_keys, put_change
from octy_middleware import Database, DatabaseUnavailableError
from octy_middleware.db.database import notify
from octy_middleware.db.migrations import upgrade
from octy_middleware.db.schema_version import SCHEMA_VERSION, read_schema_version


@pytest.mark.sqlite
def test_sqlite_is_durable_and_checks_foreign_keys(world: World) -> None:
    found = {name: world.rows(f"PRAGMA {name}")[0][0] for name in ("journal_mode", "synchronous", "foreign_keys")}
    assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


@pytest.mark.sqlite
def test_database_locked_by_another_program_is_unavailable(world: World) -> None:
    short = Database(world.url, busy_timeout=0.2)
    program = sqlite3.connect(world.folder / "octy.db", isolation_level=None)
    program.execute("BEGIN EXCLUSIVE")
    with pytest.raises(DatabaseUnavailableError, match="locked"), short.write():
        pass
    program.execute("ROLLBACK")
    program.close()
    with short.write():
        pass
    short.close()


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
    put_change(world.database, "pk_later")
    assert changed_keys(world.database) == ["pk_later"]


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
    put_change(world.database, "pk_old")
    remove(world)
    for _ in range(3):
        with pytest.raises(DatabaseUnavailableError), getattr(world.database, use)():
            pass
    assert not (world.folder / "octy.db").exists()


@pytest.mark.sqlite
def test_replaced_file_is_used_at_once(world: World, other: Path) -> None:
    put_change(world.database, "pk_old")
    remove(world)
    other.rename(world.folder / "octy.db")
    assert changed_keys(world.database) == []
    put_change(world.database, "pk_new")
    assert changed_keys(world.database) == ["pk_new"]


@pytest.mark.sqlite
def test_file_moved_back_has_lost_nothing(world: World, tmp_path: Path) -> None:
    """SQLite would make an empty file in its place, and delete the log in which the latest commits are."""
    put_change(world.database, "pk_old")
    path, away = world.folder / "octy.db", tmp_path / "away"
    path.rename(away)
    for use in (world.database.read, world.database.write) * 3:
        with pytest.raises(DatabaseUnavailableError), use():
            pass
    away.rename(path)
    put_change(world.database, "pk_new")
    assert changed_keys(world.database) == ["pk_old", "pk_new"]


@pytest.mark.sqlite
def test_commit_into_a_removed_file_raises_database_unavailable(world: World, other: Path) -> None:
    put_change(world.database, "pk_old")
    with pytest.raises(DatabaseUnavailableError, match="removed or replaced"), world.database.write() as connection:
        connection.execute(text("INSERT INTO key_change (public_key, at) VALUES ('pk_lost', 1)"))
        other.replace(world.folder / "octy.db")


@pytest.mark.sqlite
def test_file_replaced_again_and_again_is_unavailable(world: World) -> None:
    path, copy = world.folder / "octy.db", world.folder / "copy.db"

    def replace(*_connection: object) -> None:
        shutil.copy(path, copy)
        copy.replace(path)

    database = Database(world.url)
    event.listen(database.engine, "connect", replace)
    with pytest.raises(DatabaseUnavailableError, match="is being replaced"), database.read():
        pass
    database.close()


@pytest.mark.sqlite
def test_location_of_a_file_that_is_removed_meanwhile_is_unavailable(world: World) -> None:
    with world.database.read() as connection:
        remove(world)
        with pytest.raises(DatabaseUnavailableError, match="removed or replaced"):
            world.database.backend.location(connection)


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
    database = Database(f"sqlite:///{tmp_path / path}")
    with pytest.raises(DatabaseUnavailableError, match=hint):
        upgrade(database)
    with pytest.raises(DatabaseUnavailableError):  # an outage: the folder may come back with the file
        read_schema_version(database)


@pytest.mark.parametrize("name", ["a b.db", "a%23b.db", "ä#.db", "a&mode=memory.db"])
def test_any_file_name_works(tmp_path: Path, name: str) -> None:
    database = Database(f"sqlite:///{tmp_path / name}")
    upgrade(database)
    assert read_schema_version(database) == SCHEMA_VERSION
    database.close()
    assert Path(str(database.url.database)).stat().st_size > 0


@pytest.mark.parametrize("user", [0, 1000])
@pytest.mark.sqlite
def test_lock_file_has_the_rights_of_the_database_file(
    world: World, monkeypatch: pytest.MonkeyPatch, user: int
) -> None:
    """Only root may also give it the owner, which is the same here."""
    monkeypatch.setattr(os, "geteuid", lambda: user)
    database, lock = world.folder / "octy.db", world.folder / "octy.db.lock-file"
    lock.unlink(missing_ok=True)
    database.chmod(0o666)
    fresh = Database(world.url)
    with fresh.write():
        pass
    assert stat.S_IMODE(lock.stat().st_mode) == 0o666
    assert (lock.stat().st_uid, lock.stat().st_gid) == (database.stat().st_uid, database.stat().st_gid)
    fresh.close()


@pytest.mark.sqlite
def test_lock_file_on_a_file_system_without_locks_is_unavailable(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    with monkeypatch.context() as patched:
        patched.setattr(fcntl, "flock", refuse)
        with (
            pytest.raises(DatabaseUnavailableError, match="lock file can't be used"),
            world.database.write(),
        ):
            pass
    put_change(world.database)
    assert changed_keys(world.database) == ["pk_x"]


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
