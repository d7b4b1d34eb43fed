"""PostgreSQL behind pgbouncer in transaction mode, where each transaction may have another session."""

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path

import psycopg
import pytest
from support.databases import make_empty_database, remove_database
from support.pooler import PROGRAM, pgbouncer
from support.postgres import shared_server
from support.until import until
from support.world import FakeRequest, World

from middleware.db.key_changes import changed_keys
from octy_middleware import ConfigurationError, Database
from octy_middleware.db.bulk_sql import Batch
from octy_middleware.db.migrations import check_tables, upgrade
from octy_middleware.db.schema_version import check_schema_if_available
from octy_middleware.domain import key_pairs
from octy_middleware.http.outcome import Outcome
from octy_worker.cli.doctor.database import check_database
from octy_worker.settings import WorkerSettings

pytestmark = pytest.mark.needs(PROGRAM)
ASKED = 360


@pytest.fixture
def database_kind() -> str:
    return "postgresql"


@contextmanager
def through(world: World, port: int) -> Iterator[str]:
    """Have the world's authenticators reach its database by the pooler."""
    direct = world.url
    world.url = direct.replace(f":{shared_server().port}/", f":{port}/")
    try:
        yield world.url
    finally:
        world.url = direct


def test_every_attempt_is_decided_and_counted_behind_a_transaction_pooler(world: World) -> None:
    customers = [world.register(f"customer-{number}") for number in range(12)]
    with (
        pgbouncer(world.folder, shared_server()) as port,
        through(world, port),
        world.authenticator() as one,
        world.authenticator() as two,
    ):

        def ask(number: int) -> Outcome | None:
            keys = customers[number % len(customers)]
            return (one, two)[number % 2].decide(FakeRequest(keys.basic("sk_wrong" if number % 3 else None))).outcome

        with ThreadPoolExecutor(24) as pool:
            found = Counter(pool.map(ask, range(ASKED)))
        assert found == {Outcome.WRONG_SECRET: ASKED * 2 // 3, Outcome.ACCEPTED: ASKED // 3}
    assert world.recorded() == {"wrong_secret": ASKED * 2 // 3, "accepted": ASKED // 3}


def test_revoked_key_pair_is_refused_behind_a_transaction_pooler(world: World) -> None:
    keys = world.register()
    with pgbouncer(world.folder, shared_server()) as port, through(world, port), world.authenticator() as authenticator:
        assert authenticator.decide(FakeRequest(keys.basic())).outcome is Outcome.ACCEPTED
        with world.database.write() as connection:
            pair_id = connection.exec_driver_sql("SELECT id FROM key_pair").scalar_one()
            key_pairs.retire(connection, pair_id, time.time())
        until(lambda: authenticator.decide(FakeRequest(keys.basic())).outcome is Outcome.RETIRED)


def test_commits_are_durable_behind_a_transaction_pooler(world: World) -> None:
    name = world.url.rpartition("/")[2]
    with psycopg.connect(world.url, autocommit=True) as driver:
        driver.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
    with pgbouncer(world.folder, shared_server()) as port, through(world, port) as url, closing(Database(url)) as ours:
        with ours.write() as connection:
            assert connection.exec_driver_sql("SHOW synchronous_commit").scalar_one() == "on"
        with ours.read() as connection:  # nothing is left behind in a session that others use
            assert connection.exec_driver_sql("SHOW synchronous_commit").scalar_one() == "off"
    with psycopg.connect(world.url, autocommit=True) as driver:
        driver.execute(f"ALTER DATABASE {name} RESET synchronous_commit")


def test_failed_batch_behind_a_transaction_pooler_writes_nothing_and_the_next_one_works(world: World) -> None:
    add = Batch("INSERT INTO key_change (seq, public_key, at) SELECT 7, key, 1 FROM {input}", key="text")
    with pgbouncer(world.folder, shared_server()) as port, through(world, port) as url, closing(Database(url)) as ours:
        for keys in (["pk_a", "pk_b"], ["pk_c"]):
            error = pytest.raises(psycopg.IntegrityError) if len(keys) > 1 else nullcontext()
            with error, ours.write_batch({"pk_a"}) as transaction:
                transaction.add(add, [[key] for key in keys])
    assert changed_keys(world.database) == ["pk_c"]


def test_statement_pooler_is_rejected_with_what_to_do(world: World) -> None:
    words = "allows no transactions .* → set its pool_mode to transaction or session"
    with (
        pgbouncer(world.folder, shared_server(), mode="statement") as port,
        through(world, port) as url,
        closing(Database(url)) as ours,
    ):
        with pytest.raises(ConfigurationError, match=words):
            check_schema_if_available(ours)
        checks = check_database(WorkerSettings.model_construct(database_url=url))
        [database] = [check for check in checks if check.name == "database"]
        assert "pool_mode" in str(database)


def test_schema_behind_a_pooler_is_rejected_until_the_role_has_it_as_search_path(tmp_path: Path) -> None:
    direct = make_empty_database(tmp_path, "postgresql")
    name = direct.rpartition("/")[2]
    with pgbouncer(tmp_path, shared_server()) as port:
        url = direct.replace(f":{shared_server().port}/", f":{port}/") + "?schema=octy_data"
        with closing(Database(url)) as ours, pytest.raises(ConfigurationError, match="ALTER ROLE … SET search_path"):
            upgrade(ours)
    with psycopg.connect(direct, autocommit=True) as driver:
        driver.execute(f"ALTER ROLE octy IN DATABASE {name} SET search_path = octy_data")
    with pgbouncer(tmp_path, shared_server()) as port:
        url = direct.replace(f":{shared_server().port}/", f":{port}/") + "?schema=octy_data"
        with closing(Database(url)) as ours:
            upgrade(ours)
            check_tables(ours)
    remove_database(direct)
