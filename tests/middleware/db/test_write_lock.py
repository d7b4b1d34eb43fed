"""Locks of PostgreSQL roles that may not write Octy's tables block neither recording nor staff."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from zlib import crc32

import psycopg
import pytest
from psycopg import sql
from support.postgres import shared_server
from support.world import FakeRequest, World

from octy_middleware import Database, DatabaseUnavailableError
from octy_middleware.db import bulk_sql
from octy_middleware.db.backend import WriteMode
from octy_middleware.db.migrations import upgrade
from octy_middleware.errors import DatabaseSetupError
from octy_middleware.http.outcome import Outcome

_MODES = (
    "ACCESS SHARE",
    "ROW SHARE",
    "ROW EXCLUSIVE",
    "SHARE UPDATE EXCLUSIVE",
    "SHARE",
    "SHARE ROW EXCLUSIVE",
    "EXCLUSIVE",
    "ACCESS EXCLUSIVE",
)
_ROWS = ("UPDATE", "NO KEY UPDATE", "SHARE", "KEY SHARE")
_TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename"
# The numbers that earlier releases used, those of keys by two hashes, and all small ones of any class near theirs.
_ADVISORY = (
    "SELECT pg_advisory_lock(3191, number) FROM generate_series(0, 200) number",
    "SELECT pg_advisory_lock(number) FROM generate_series(0, 200) number",
    "SELECT pg_advisory_lock(hashtextextended('{key}', 3191)), pg_advisory_lock({checksum}::bigint)",
)


@pytest.fixture
def database_kind() -> str:
    return "postgresql"


@pytest.fixture(params=["may only connect", "may only read"])
def outsider(request: pytest.FixtureRequest, world: World) -> Iterator[str]:
    """A role of the server, beside a schema that is closed to roles without a grant, as docs/faults.md says."""
    with psycopg.connect(world.url, autocommit=True) as owner:
        owner.execute("CREATE ROLE outsider LOGIN")
        owner.execute("REVOKE USAGE ON SCHEMA public FROM PUBLIC")
        if request.param == "may only read":
            owner.execute("GRANT USAGE ON SCHEMA public TO outsider")
            owner.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO outsider")
    yield "outsider"
    world.database.close()
    with psycopg.connect(world.url, autocommit=True) as owner:
        owner.execute("DROP OWNED BY outsider")
        owner.execute("GRANT USAGE ON SCHEMA public TO PUBLIC")
    with psycopg.connect(shared_server().url("postgres"), autocommit=True) as owner:
        owner.execute("DROP ROLE outsider")


@contextmanager
def every_lock_held_by(role: str, world: World, public_key: str) -> Iterator[set[str]]:
    """Have a role hold what it can take, each lock in a transaction of its own; yield what it could."""
    with psycopg.connect(world.url) as owner:
        tables = [name for (name,) in owner.execute(_TABLES)]
    taken: set[str] = set()
    url = world.url.replace("octy@", f"{role}@")
    with ExitStack() as stack:
        advisory = stack.enter_context(psycopg.connect(url, autocommit=True))
        for lock in _ADVISORY:
            advisory.execute(lock.format(key=public_key, checksum=crc32(public_key.encode())).encode())
        driver = stack.enter_context(psycopg.connect(url))
        for table in map(sql.Identifier, tables):
            statements = {f"LOCK {mode}": sql.SQL(f"LOCK TABLE public.{{}} IN {mode} MODE") for mode in _MODES}
            statements |= {f"ROW {kind}": sql.SQL(f"SELECT 1 FROM public.{{}} FOR {kind}") for kind in _ROWS}
            for name, statement in statements.items():
                try:
                    with driver.transaction():  # a savepoint: what was taken before is kept
                        driver.execute(statement.format(table))
                except psycopg.errors.InsufficientPrivilege:
                    continue
                taken.add(name)
        yield taken


def test_locks_of_read_only_roles_block_neither_recording_nor_staff(world: World, outsider: str) -> None:
    keys, other = world.register(), world.register("other")
    with (
        world.authenticator(commit_timeout=2.0) as authenticator,
        every_lock_held_by(outsider, world, keys.public_key) as taken,
    ):
        assert taken <= {"LOCK ACCESS SHARE"}
        refused = {authenticator.decide(FakeRequest(keys.basic("wrong"))).outcome for _ in range(100)}
        assert refused == {Outcome.WRONG_SECRET}
        assert authenticator.decide(FakeRequest(keys.basic())).passes
        assert authenticator.decide(FakeRequest(other.basic())).passes
        for mode in (WriteMode.EXCLUSIVE, WriteMode.IMPORT, WriteMode.BULK_RECORDER):
            with world.database.write(mode=mode, timeout=2.0) as connection:
                bulk_sql.run(connection, "UPDATE account SET contact_name = ?", mode.value)
        assert world.register("third", address="third@example.com").public_key
    assert world.recorded(keys.public_key)["wrong_secret"] == 100


def test_role_with_connect_right_only_cannot_prepare_a_statement_on_octy_tables(world: World) -> None:
    """A statement that is only prepared locks its tables before any right is checked; USAGE is checked first."""
    with psycopg.connect(world.url, autocommit=True) as owner:
        owner.execute("CREATE ROLE outsider LOGIN")
        owner.execute("REVOKE USAGE ON SCHEMA public FROM PUBLIC")
    try:
        with psycopg.connect(world.url.replace("octy@", "outsider@"), autocommit=True) as driver:
            for statement in (
                "PREPARE p AS DELETE FROM public.write_lock",
                "CREATE RULE r AS ON UPDATE TO public.write_lock DO NOTHING",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege, match="schema public"):
                    driver.execute(statement.encode())
    finally:
        with psycopg.connect(world.url, autocommit=True) as owner:
            owner.execute("GRANT USAGE ON SCHEMA public TO PUBLIC")
            owner.execute("DROP ROLE outsider")


@pytest.mark.parametrize(
    ("mode", "slot"), [(WriteMode.EXCLUSIVE, 0), (WriteMode.EXCLUSIVE, 1), (WriteMode.RECORDER, 1)]
)
def test_writers_fail_without_lock_rows_and_upgrade_restores_them(world: World, mode: WriteMode, slot: int) -> None:
    def write() -> None:
        with world.database.write(mode=mode) as connection:
            world.database.backend.lock_feed(connection)

    with psycopg.connect(world.url) as owner:
        owner.execute("DELETE FROM write_lock WHERE slot = %s", (slot,))
    with pytest.raises(DatabaseSetupError, match=r"rows of the table write_lock are missing.*octy db upgrade"):
        write()
    upgrade(world.database)
    write()


def test_recorder_without_lock_rows_of_keys_writes_nothing(world: World) -> None:
    with psycopg.connect(world.url) as owner:
        owner.execute("DELETE FROM write_lock WHERE slot >= 64")
    with (
        pytest.raises(DatabaseSetupError, match="rows of the table write_lock are missing"),
        world.database.write_batch({"pk_1", "pk_2"}),
    ):
        pass
    upgrade(world.database)


def test_recorders_of_one_key_wait_for_each_other_and_others_do_not(world: World) -> None:
    quick = Database(world.url, busy_timeout=0.2)
    with world.database.write_batch({"pk_1", "pk_2"}):
        with quick.write_batch({"pk_3", "pk_4"}):
            pass
        for waiting in (quick.write_batch({"pk_2"}), quick.write_batch(None), quick.write()):
            with pytest.raises(DatabaseUnavailableError, match="lock timeout"), waiting:
                pass
    quick.close()
