"""A database that refuses a statement: the error names the reason and what to do, unlike an outage."""

import logging
from collections.abc import Iterator

import psycopg
import pytest
from support.postgres import shared_server
from support.until import until
from support.world import FakeRequest, World

from octy_middleware import Database
from octy_middleware.db.backend import WriteMode
from octy_middleware.db.migrations import downgrade, upgrade
from octy_middleware.errors import DatabaseSetupError
from octy_middleware.http.outcome import Outcome
from octy_worker.cli.exit_codes import ExitCode, exit_code_of


@pytest.fixture
def powerless(database_kind: str) -> Iterator[str]:
    """A role that may log in and nothing else."""
    assert database_kind == "postgresql"
    with psycopg.connect(shared_server().url("postgres"), autocommit=True) as driver:
        driver.execute("DROP ROLE IF EXISTS powerless")
        driver.execute("CREATE ROLE powerless LOGIN")
        yield "powerless"
        driver.execute("DROP ROLE powerless")


def as_role(database: Database, role: str) -> Database:
    return Database(database.url.render_as_string(hide_password=False).replace("octy@", f"{role}@"))


@pytest.mark.parametrize("database_kind", ["postgresql"])
def test_upgrade_without_ddl_rights_names_the_missing_right_and_what_to_do(empty: Database, powerless: str) -> None:
    database = as_role(empty, powerless)
    with pytest.raises(
        DatabaseSetupError, match=r"permission denied for schema public → GRANT .*needs the owner"
    ) as caught:
        upgrade(database)
    assert exit_code_of(caught.value) is ExitCode.USAGE
    database.close()


def test_existing_table_is_reported_by_upgrade(empty: Database) -> None:
    upgrade(empty)
    downgrade(empty, "base")
    with empty.write(mode=WriteMode.MIGRATION) as connection:
        connection.exec_driver_sql("CREATE TABLE webhook (id INTEGER)")
    with pytest.raises(DatabaseSetupError, match=r"webhook.* already exists.* → .*a database of its own") as caught:
        upgrade(empty)
    assert exit_code_of(caught.value) is ExitCode.USAGE


def test_missing_table_is_logged_at_a_request(world: World, caplog: pytest.LogCaptureFixture) -> None:
    keys = world.register()
    caplog.set_level(logging.WARNING)
    with world.authenticator(commit_timeout=2.0) as authenticator:
        with world.database.write() as connection:
            connection.exec_driver_sql("DROP TABLE key_change")
        assert authenticator.decide(FakeRequest(keys.basic())).outcome is Outcome.DATABASE_UNAVAILABLE
    assert "DatabaseSetupError" in caplog.text
    assert "key_change" in caplog.text
    assert "run `octy db upgrade`" in caplog.text


@pytest.mark.parametrize("database_kind", ["postgresql"])
def test_missing_right_is_logged_at_a_request(world: World, powerless: str, caplog: pytest.LogCaptureFixture) -> None:
    keys = world.register()
    with world.database.write() as connection:
        connection.exec_driver_sql(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {powerless}")
    caplog.set_level(logging.WARNING)
    with world.authenticator(
        database_url=world.url.replace("octy@", f"{powerless}@"), commit_timeout=2.0
    ) as authenticator:
        assert authenticator.decide(FakeRequest(keys.basic("sk_wrong"))).outcome is Outcome.DATABASE_UNAVAILABLE
        assert authenticator.decide(FakeRequest(keys.basic())).outcome is Outcome.ACCEPTED
        until(lambda: "permission denied for table" in caplog.text)
    assert "→ GRANT this role the missing right" in caplog.text
    with world.database.write() as connection:
        connection.exec_driver_sql(f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {powerless}")


@pytest.mark.sqlite
def test_read_only_file_error_names_the_user_that_is_needed(world: World) -> None:
    told = "readonly database → run this as the user who may write"
    with pytest.raises(DatabaseSetupError, match=told), world.database.write() as connection:
        connection.exec_driver_sql("PRAGMA query_only = ON")
        connection.exec_driver_sql("DELETE FROM key_change")
