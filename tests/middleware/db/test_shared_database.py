"""A database, a schema or an interpreter shared with a host app that has tables and models of the same names."""

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Column, Integer, MetaData, Table, inspect
from support.databases import make_empty_database, remove_database
from support.postgres import shared_server
from support.preloaded import Preloaded, preloaded
from support.world import FakeRequest, World

from octy_middleware import ConfigurationError, Database, SchemaError
from octy_middleware.db.backend import VERSION_TABLE, WriteMode
from octy_middleware.db.foreign_tables import TABLE_NAMES
from octy_middleware.db.migrations import check_tables, downgrade, upgrade
from octy_middleware.db.models import METADATA
from octy_middleware.db.schema_version import SCHEMA_VERSION, check_schema_if_available
from octy_middleware.errors import DatabaseSetupError
from octy_middleware.http.outcome import Outcome
from octy_worker.cli.exit_codes import ExitCode, exit_code_of

HOST = """
from sqlalchemy.orm import configure_mappers
from sqlmodel import Field, Relationship, SQLModel
{first}

class Account(SQLModel, table=True):
    id: int = Field(primary_key=True)
    {things}: list["{name}"] = Relationship(back_populates="account")

class {name}(SQLModel, table=True):
    id: int = Field(primary_key=True)
    account_id: int = Field(foreign_key="account.id")
    account: Account = Relationship(back_populates="{things}")

{last}
configure_mappers()
assert set(SQLModel.metadata.tables) == {{"account", "{table}"}}, SQLModel.metadata.tables
assert Account(id=1, {things}=[{name}(id=2)]).{things}[0].account.id == 1
"""
IMPORT = "import octy_middleware, octy_middleware.db.models"


@pytest.fixture(scope="module")
def host() -> Iterator[Preloaded]:
    with preloaded("sqlmodel") as process:
        yield process


@pytest.mark.parametrize("name", ["Job", "Incident", "Mail", "Webhook"])
@pytest.mark.parametrize("imported", ["first", "last"])
def test_host_models_of_the_same_names_are_resolved(host: Preloaded, tmp_path: Path, name: str, imported: str) -> None:
    imports = {"first": "", "last": "", imported: IMPORT}
    script = HOST.format(name=name, table=name.lower(), things=f"{name.lower()}s", **imports)
    (tmp_path / "host.py").write_text(script)
    assert host.run(tmp_path, ["host.py"], os.environ) == (0, "")


def test_alembic_version_table_of_the_host_is_neither_read_nor_written(empty: Database) -> None:
    empty.backend.create()
    with empty.write(mode=WriteMode.MIGRATION) as connection:
        connection.exec_driver_sql("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        connection.exec_driver_sql("INSERT INTO alembic_version VALUES ('0001')")
    assert upgrade(empty) is None
    check_tables(empty)
    downgrade(empty, "base")
    with empty.read() as connection:
        assert connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one() == "0001"
        assert set(inspect(connection).get_table_names()) == {"alembic_version", VERSION_TABLE}


def test_foreign_tables_with_octy_names_are_rejected_and_left_unchanged(empty: Database, database_kind: str) -> None:
    empty.backend.create()
    with empty.write(mode=WriteMode.MIGRATION) as connection:
        connection.exec_driver_sql("CREATE TABLE account (id INTEGER)")
        connection.exec_driver_sql("CREATE TABLE job (id INTEGER)")
    remedy = r"a file of its own" if database_kind == "sqlite" else r"a schema of its own: add \?schema=octy_data"
    words = rf"tables of others with the names of Octy's tables \(account, job\).* → .*{remedy}"
    with pytest.raises(SchemaError, match=words) as caught:
        upgrade(empty)
    assert exit_code_of(caught.value) is ExitCode.USAGE
    with pytest.raises(SchemaError, match=words):
        check_schema_if_available(empty)
    with empty.read() as connection:
        assert set(inspect(connection).get_table_names()) == {"account", "job"}


@pytest.mark.parametrize("database_kind", ["postgresql"])
def test_own_schema_works_beside_tables_of_the_same_names(tmp_path: Path, database_kind: str) -> None:
    url = make_empty_database(tmp_path, database_kind)
    host, ours = Database(url), Database(f"{url}?schema=octy_data")
    with host.write(mode=WriteMode.MIGRATION) as connection:
        for name in sorted(TABLE_NAMES):
            connection.exec_driver_sql(f"CREATE TABLE {name} (id INTEGER)")
    assert upgrade(ours) is None
    assert upgrade(ours) == SCHEMA_VERSION
    check_tables(ours)
    check_schema_if_available(ours)
    with host.read() as connection:
        found = inspect(connection)
        assert set(found.get_table_names("octy_data")) == TABLE_NAMES
        assert all(len(found.get_columns(name, "public")) == 1 for name in TABLE_NAMES)
    assert "schema=octy_data" in ours.backend.display_name
    host.close()
    ours.close()
    remove_database(url)


@pytest.mark.parametrize("database_kind", ["postgresql"])
def test_request_is_decided_and_recorded_in_the_own_schema(
    tmp_path: Path, database_kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = make_empty_database(tmp_path, database_kind)
    with closing(Database(f"{url}?schema=octy_data")) as ours:
        upgrade(ours)
    monkeypatch.setattr("support.world.make_database", lambda *_: f"{url}?schema=octy_data")
    world = World(tmp_path, database_kind)
    keys = world.register()
    with world.authenticator() as authenticator:
        assert authenticator.decide(FakeRequest(keys.basic())).outcome is Outcome.ACCEPTED
        assert authenticator.decide(FakeRequest(keys.basic("sk_wrong"))).outcome is Outcome.WRONG_SECRET
    with closing(Database(url)) as host, host.read() as connection:
        count = "SELECT SUM(count) FROM octy_data.outcome_minute"
        assert connection.exec_driver_sql(count).scalar_one() == 2
    world.database.close()
    remove_database(url)


@pytest.mark.parametrize("name", ["Octy", "pg_octy", "a-b", 'a"b', "octy,public", "x" * 64])
def test_schema_with_an_invalid_name_is_rejected(name: str) -> None:
    with pytest.raises(ConfigurationError, match="schema: give one name"):
        Database(f"postgresql://octy@127.0.0.1/octy?schema={name}")


def test_host_alembic_ignores_octy_tables_by_name(empty: Database) -> None:
    """For a host without tables of the same names, in one schema with Octy."""
    upgrade(empty)
    wanted = MetaData()
    Table("invoice", wanted, Column("id", Integer, primary_key=True))
    options = {"include_name": lambda name, kind, _parents: kind != "table" or name not in TABLE_NAMES}
    with empty.write(mode=WriteMode.MIGRATION) as connection:
        wanted.create_all(connection)
        assert compare_metadata(MigrationContext.configure(connection, opts=options), wanted) == []
    assert set(METADATA.tables) < TABLE_NAMES


@pytest.mark.parametrize("database_kind", ["postgresql"])
def test_role_without_create_schema_right_can_use_an_existing_schema(tmp_path: Path, database_kind: str) -> None:
    url = make_empty_database(tmp_path, database_kind)
    owner = Database(url)
    ours = Database(f"{url}?schema=octy_data".replace("octy@", "guest@"))
    with owner.write(mode=WriteMode.MIGRATION) as connection:
        connection.exec_driver_sql("DROP ROLE IF EXISTS guest")
        connection.exec_driver_sql("CREATE ROLE guest LOGIN")
    with pytest.raises(DatabaseSetupError, match=r"permission denied for database .* → GRANT"):
        upgrade(ours)
    with owner.write(mode=WriteMode.MIGRATION) as connection:
        connection.exec_driver_sql("CREATE SCHEMA octy_data AUTHORIZATION guest")
    upgrade(ours)
    check_tables(ours)
    ours.close()
    with owner.write(mode=WriteMode.MIGRATION) as connection:
        connection.exec_driver_sql("DROP OWNED BY guest")
        connection.exec_driver_sql("DROP ROLE guest")
    owner.close()
    shared_server().drop(url.rpartition("/")[2])


@pytest.mark.parametrize("database_kind", ["postgresql"])
@pytest.mark.parametrize("schema", ["public", "octy_data"])
def test_schema_without_usage_right_is_not_reported_as_empty(tmp_path: Path, database_kind: str, schema: str) -> None:
    url = make_empty_database(tmp_path, database_kind)
    with closing(Database(f"{url}?schema={schema}")) as ours:
        upgrade(ours)
        with ours.write() as connection:
            connection.exec_driver_sql("CREATE ROLE without_usage LOGIN")
            connection.exec_driver_sql(f"REVOKE USAGE ON SCHEMA {schema} FROM PUBLIC")
        option = "" if schema == "public" else f"?schema={schema}"
        words = f"has no USAGE right on the schema {schema} .* → GRANT USAGE ON SCHEMA {schema}"
        with (
            closing(Database(url.replace("octy@", "without_usage@") + option)) as guest,
            pytest.raises(SchemaError, match=words),
        ):
            check_schema_if_available(guest)
        with ours.write() as connection:
            connection.exec_driver_sql("DROP ROLE without_usage")
    shared_server().drop(url.rpartition("/")[2])


@pytest.mark.parametrize("database_kind", ["postgresql"])
def test_schema_with_the_name_of_the_role_is_rejected(tmp_path: Path, database_kind: str) -> None:
    """A host app with the same role would find our tables before its own."""
    url = make_empty_database(tmp_path, database_kind)
    with (
        closing(Database(f"{url}?schema=octy")) as ours,
        pytest.raises(ConfigurationError, match="the role's own name"),
    ):
        upgrade(ours)
    remove_database(url)
