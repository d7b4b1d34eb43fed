"""PostgreSQL databases of other encodings than UTF-8."""

from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest
from psycopg import sql
from support.postgres import shared_server

from octy_middleware import ConfigurationError, Database
from octy_middleware.db.migrations import check_tables, upgrade
from octy_middleware.db.schema_version import check_schema_if_available
from octy_middleware.domain.accounts import Accounts, create_account
from octy_worker.cli.doctor.database import check_database
from octy_worker.settings import WorkerSettings

CONTACT = {"contact_email_address": "security@acme.example"}
NAME = "Zażółć 名前 €"


@pytest.fixture
def url(encoding: str) -> Iterator[str]:
    name = f"octy_{encoding.lower()}"
    with psycopg.connect(shared_server().url("postgres"), autocommit=True) as driver:
        made = sql.SQL("CREATE DATABASE {} ENCODING {} TEMPLATE template0")
        driver.execute(made.format(sql.Identifier(name), sql.Literal(encoding)))
    yield shared_server().url(name)
    shared_server().drop(name)


@pytest.mark.parametrize("encoding", ["SQL_ASCII"])
@pytest.mark.parametrize("option", ["", "?client_encoding=latin1"])
def test_sql_ascii_database_stores_unicode(url: str, option: str) -> None:
    with closing(Database(url + option)) as database:
        upgrade(database)
        check_tables(database)
        with database.write_session() as session:
            create_account(session, "acme", {**CONTACT, "contact_name": NAME}, 0.0)
        assert Accounts(database).contact("acme")["contact_name"] == NAME


@pytest.mark.parametrize("encoding", ["LATIN1", "EUC_JP"])
def test_database_with_a_limited_encoding_is_rejected_with_what_to_do(url: str, encoding: str) -> None:
    words = rf"the database's encoding is {encoding}, .* ENCODING 'UTF8'"
    with closing(Database(url)) as database:
        with pytest.raises(ConfigurationError, match=words):
            upgrade(database)
        with pytest.raises(ConfigurationError, match=words):
            check_schema_if_available(database)


@pytest.mark.parametrize("encoding", ["LATIN1"])
def test_doctor_names_the_required_encoding(url: str) -> None:
    checks = check_database(WorkerSettings.model_construct(database_url=url))
    [database] = [check for check in checks if check.name == "database"]
    assert "ENCODING 'UTF8'" in str(database)
