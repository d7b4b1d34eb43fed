"""Migrations on both databases: upgrade, downgrade, concurrent upgrades, and the tables against the models."""

import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from alembic import command
from alembic.config import Config
from sqlalchemy import Column, MetaData, Table, inspect, text
from support import compared_tables
from support.databases import make_empty_database, remove_database
from support.world import FakeRequest, World
from typer.testing import CliRunner

from octy_middleware import Database, DatabaseUnavailableError, SchemaError
from octy_middleware.db import migrations
from octy_middleware.db.backend import WriteMode
from octy_middleware.db.migrations import check_tables, comparison, downgrade, upgrade
from octy_middleware.db.models import METADATA
from octy_middleware.db.schema_version import (
    SCHEMA_VERSION,
    check_schema,
    check_schema_if_available,
    read_schema_version,
)
from octy_worker.cli.app import app

OLDER = "0000"  # before any schema of ours
SCRIPTS = Path(str(migrations.__file__)).parent


@pytest.fixture(autouse=True)
def _compared_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare tables by the code itself, also in a process in which other tests share comparisons."""
    monkeypatch.setattr(comparison, "differences", compared_tables.compare)


def tables_of(database: Database) -> dict[str, Table]:
    """Return the tables as they are, whatever the models say."""
    found = MetaData()
    with database.read() as connection:
        found.reflect(connection)
    return {name: table for name, table in found.tables.items() if not name.startswith("sqlite_")}


def shape(database: Database) -> dict[str, object]:
    """Return all that the database reports about its tables; columns by name, for migrations add them at the end."""
    with database.read() as connection:
        inspector = inspect(connection)
        columns, indexes = inspector.get_multi_columns(), inspector.get_multi_indexes()
        unique, foreign = inspector.get_multi_unique_constraints(), inspector.get_multi_foreign_keys()
        primary, options = inspector.get_multi_pk_constraint(), inspector.get_multi_table_options()
    return {
        str(table[1]): {
            "columns": sorted(
                (column["name"], str(column["type"]), column["nullable"], column.get("default"))
                for column in columns[table]
            ),
            "indexes": sorted(
                (
                    index["name"],
                    index["column_names"],
                    index["unique"],
                    sorted((name, str(value)) for name, value in index.get("dialect_options", {}).items()),
                )
                for index in indexes[table]
            ),
            "unique": sorted((each["name"], each["column_names"]) for each in unique[table]),
            "foreign": sorted((each["name"], str(each)) for each in foreign[table]),
            "primary": primary[table],
            "options": options[table],
        }
        for table in columns
        if table[1] != "octy_schema_version"
    }


def value_of(column: Column, number: int) -> object:
    """Return something of the column's type and length, another for each row."""
    kind = column.type.python_type
    if kind is int and column.primary_key:
        return number
    if kind is int:
        return 2**31 - 1 if column.type.__class__.__name__ == "INTEGER" else 2**40 + number
    if kind is bool:
        return number % 2 == 0
    if kind is str:
        return f"ä'%?:x-{number}"[: getattr(column.type, "length", None) or 40]
    return {"kind": "Ω", "n": number}


def fill(database: Database) -> dict[str, list[tuple]]:
    """Put three rows into every table as it is, each pointing at rows of others; return them all.

    Not into `write_lock`, whose rows are always there on PostgreSQL, and never on SQLite.
    """
    tables = tables_of(database)
    names = [table.name for table in METADATA.sorted_tables if table.name != "write_lock"]
    ours = [tables[name] for name in names if name in tables]
    with database.write() as connection:
        for table in ours:
            some = [
                {
                    column.name: f"{next(iter(column.foreign_keys)).column.table.name[:8]}-{number}"
                    if column.foreign_keys
                    else f"{table.name[:8]}-{number}"
                    if column.primary_key and column.type.python_type is str
                    else value_of(column, number)
                    for column in table.columns
                }
                for number in range(1, 4)
            ]
            connection.execute(table.insert(), some)
    return rows(database, ours)


def rows(database: Database, tables: list[Table]) -> dict[str, list[tuple]]:
    """Return all rows of these tables, by the columns that they are known to have."""
    with database.read() as connection:
        return {table.name: sorted(map(tuple, connection.execute(table.select())), key=str) for table in tables}


def test_migrations_create_the_tables_of_the_models(empty: Database, tmp_path: Path, database_kind: str) -> None:
    """Compared with what the models would make themselves, by the database's own catalogue."""
    upgrade(empty)
    check_tables(empty)
    (tmp_path / "models").mkdir()
    url = make_empty_database(tmp_path / "models", database_kind)
    modelled = Database(url)
    modelled.backend.create()
    with modelled.write(mode=WriteMode.MIGRATION) as connection:
        METADATA.create_all(connection)
    found = shape(empty)
    assert set(found) == set(METADATA.tables)
    assert found == shape(modelled)
    modelled.close()
    remove_database(url)


def test_second_upgrade_changes_nothing(empty: Database) -> None:
    assert upgrade(empty) is None
    before = shape(empty)
    assert upgrade(empty) == SCHEMA_VERSION
    assert shape(empty) == before
    check_schema(empty)


def test_downgrade_to_base_and_upgrade_again(empty: Database) -> None:
    upgrade(empty)
    downgrade(empty, "base")
    assert set(tables_of(empty)) == {"octy_schema_version"}
    upgrade(empty)
    check_tables(empty)


BROKEN = """
import sqlalchemy as sa
from alembic import op

revision, down_revision, branch_labels, depends_on = "0009", "{head}", None, None


def upgrade() -> None:
    op.create_table("half", sa.Column("id", sa.Integer(), primary_key=True))
    op.add_column("account", sa.Column("half", sa.Integer(), nullable=True))
    op.execute("UPDATE account SET contact_name = 'spoilt'")
    op.execute("INSERT INTO nowhere VALUES (1)")
"""


def test_failed_migration_is_rolled_back(empty: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    upgrade(empty)
    kept, before = fill(empty), shape(empty)
    scripts = tmp_path / "scripts"
    shutil.copytree(SCRIPTS, scripts, ignore=shutil.ignore_patterns("__pycache__"))
    (scripts / "versions" / "0009_broken.py").write_text(BROKEN.format(head=SCHEMA_VERSION))
    monkeypatch.setattr(migrations, "__file__", str(scripts / "__init__.py"))
    with pytest.raises(DatabaseUnavailableError, match="nowhere"):
        upgrade(empty)
    assert read_schema_version(empty) == SCHEMA_VERSION
    assert shape(empty) == before
    tables = tables_of(empty)
    assert rows(empty, [tables[name] for name in kept]) == kept
    check_tables(empty)


def test_concurrent_upgrades_migrate_once(empty: Database) -> None:
    """Both begin before either is done; another `Database` shares no lock with this one but that of the database."""
    others = [Database(empty.url.render_as_string(hide_password=False), busy_timeout=60) for _ in range(4)]
    start = threading.Barrier(len(others))
    found: list[str | None] = []

    def go(database: Database) -> None:
        start.wait()
        found.append(upgrade(database))

    threads = [threading.Thread(target=go, args=(database,)) for database in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, found)) == [SCHEMA_VERSION, SCHEMA_VERSION, SCHEMA_VERSION, "None"]
    check_tables(empty)
    for database in others:
        database.close()


def test_upgrade_waits_for_a_running_upgrade(empty: Database) -> None:
    other = Database(empty.url.render_as_string(hide_password=False), busy_timeout=60)
    late: list[str | None] = []
    waiting = threading.Thread(target=lambda: late.append(upgrade(other)))
    empty.backend.create()
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    with empty.write(mode=WriteMode.MIGRATION) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        waiting.start()
        waiting.join(0.3)
        assert waiting.is_alive()
    waiting.join()
    assert late == [SCHEMA_VERSION]
    other.close()


# What `octy db check` reports


DIFFERS = r"its tables differ from it: .*→ undo what was changed by hand"


@pytest.mark.parametrize(
    "damage",
    [
        {
            "DROP TABLE job": "the table job is missing",
            "ALTER TABLE outbox DROP COLUMN delivery_attempts": "the table outbox lacks the column delivery_attempts",
            "ALTER TABLE outbox ADD COLUMN more INTEGER": "the table outbox has a column more that is not ours",
            "DROP INDEX uq_incident_open": "the index uq_incident_open is missing",
            "CREATE TABLE theirs (id INTEGER)": "",
        },
        {
            "DROP INDEX uq_incident_open": "",
            "CREATE UNIQUE INDEX uq_incident_open ON incident (key_pair_id) WHERE closed_at IS NOT NULL": (
                "the index uq_incident_open has another condition"
            ),
        },
        {
            "DROP INDEX uq_incident_open": "",
            "CREATE UNIQUE INDEX uq_incident_open ON incident (key_pair_id)": (
                "the index uq_incident_open has another condition"
            ),
        },
    ],
    ids=["tables and columns", "another condition", "no condition"],
)
def test_check_tables_reports_differences_from_the_models(world: World, damage: dict[str, str]) -> None:
    assert_reported(world, damage)


def test_check_tables_ignores_tables_of_others(world: World) -> None:
    with world.database.write() as connection:
        connection.exec_driver_sql("CREATE TABLE theirs (id INTEGER)")
    check_tables(world.database)


@pytest.mark.parametrize("database_kind", ["postgresql"])
def test_check_tables_reports_what_only_a_server_can_change(world: World) -> None:
    damage = {
        "ALTER TABLE account ALTER COLUMN reference TYPE VARCHAR(20)": (
            "in account, the column reference is of the type VARCHAR(20) and should be VARCHAR(200)"
        ),
        "ALTER TABLE incident ALTER COLUMN failures TYPE INTEGER": (
            "in incident, the column failures is of the type INTEGER and should be BIGINT"
        ),
        "ALTER TABLE account ALTER COLUMN reference DROP NOT NULL": (
            "in account, the column reference should not take NULL"
        ),
        "ALTER TABLE outbox ALTER COLUMN leased_by DROP DEFAULT": (
            "in outbox, the column leased_by has another default of the server's"
        ),
        "ALTER TABLE key_pair DROP CONSTRAINT uq_key_pair_public_key": (
            "the constraint uq_key_pair_public_key is missing"
        ),
        "ALTER TABLE key_pair DROP CONSTRAINT fk_key_pair_account_id": (
            "the foreign key fk_key_pair_account_id is missing"
        ),
    }
    assert_reported(world, damage)
    with pytest.raises(SchemaError, match="; and 1 more →"):
        check_tables(world.database)


def assert_reported(world: World, damage: dict[str, str]) -> None:
    """Damage the tables by these statements; assert what the comparison reports, and that the check refuses it."""
    with world.database.write() as connection:
        for statement in damage:
            connection.exec_driver_sql(statement)
    with world.database.read() as connection:
        assert comparison.differences(connection) == sorted(filter(None, damage.values()))
    with pytest.raises(SchemaError, match=DIFFERS):
        check_tables(world.database)


# A start against another schema


def set_version(database: Database, version: str) -> None:
    with database.write() as connection:
        connection.execute(text(f"UPDATE octy_schema_version SET version_num = '{version}'"))


def make_older(database: Database) -> None:
    set_version(database, OLDER)


def make_newer(database: Database) -> None:
    set_version(database, "9999")


def drop_tables(database: Database) -> None:
    downgrade(database, "base")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (make_older, f"at schema {OLDER}, this release needs {SCHEMA_VERSION}: run `octy db upgrade`"),
        (make_newer, f"at schema 9999, newer than this release's {SCHEMA_VERSION}: install the newer release"),
        (drop_tables, "no tables yet: run `octy db upgrade`"),
    ],
)
def test_start_with_another_schema_fails_with_what_to_do(
    world: World, change: Callable[[Database], None], told: str
) -> None:
    check_schema_if_available(world.database)
    change(world.database)
    for check in (check_schema, check_schema_if_available):
        with pytest.raises(SchemaError, match=told):
            check(world.database)


# Beside a newer release

NEXT = """
import sqlalchemy as sa
from alembic import op

revision, down_revision, branch_labels, depends_on = "0009", "{head}", None, None
{compatible}


def upgrade() -> None:
    op.add_column("account", sa.Column("newer", sa.Integer(), nullable=True))


def downgrade() -> None:
    op.drop_column("account", "newer")
"""


def migrate_to_next(database: Database, folder: Path, monkeypatch: pytest.MonkeyPatch, compatible: str) -> None:
    """Do what the next release would: its scripts, then those of this release again."""
    scripts = folder / "next"
    shutil.copytree(SCRIPTS, scripts, ignore=shutil.ignore_patterns("__pycache__"))
    (scripts / "versions" / "0009_next.py").write_text(NEXT.format(head=SCHEMA_VERSION, compatible=compatible))
    with monkeypatch.context() as patched:
        patched.setattr(migrations, "__file__", str(scripts / "__init__.py"))
        upgrade(database)


def test_rows_survive_the_next_releases_upgrade_and_downgrade(
    empty: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upgrade(empty)
    filled, before = fill(empty), shape(empty)
    tables = [table for name, table in tables_of(empty).items() if name in filled]
    assert {name for name, found in filled.items() if len(found) == 3} == set(METADATA.tables) - {"write_lock"}
    migrate_to_next(empty, tmp_path, monkeypatch, "")
    assert rows(empty, tables) == filled
    with monkeypatch.context() as patched:
        patched.setattr(migrations, "__file__", str(tmp_path / "next" / "__init__.py"))
        downgrade(empty)
    assert shape(empty) == before
    assert rows(empty, tables) == filled


def test_app_starts_on_a_newer_compatible_schema(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = world.register()
    migrate_to_next(world.database, tmp_path, monkeypatch, f'compatible_back_to = "{SCHEMA_VERSION}"')
    assert read_schema_version(world.database) == "0009"
    with world.authenticator() as authenticator:
        assert authenticator.decide(FakeRequest(keys.basic())).passes
    check_tables(world.database)
    assert upgrade(world.database) == "0009"  # a container that upgrades before it starts changes nothing
    assert read_schema_version(world.database) == "0009"


@pytest.mark.parametrize("compatible", ["", 'compatible_back_to = "0002"'])
def test_app_rejects_a_newer_incompatible_schema(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compatible: str
) -> None:
    migrate_to_next(world.database, tmp_path, monkeypatch, compatible)
    with pytest.raises(
        SchemaError, match=f"install the newer release, or run `octy db downgrade {SCHEMA_VERSION}` with it"
    ):
        world.authenticator().__enter__()
    with pytest.raises(SchemaError, match="octy db downgrade"):
        upgrade(world.database)


def test_downgrade_by_the_next_release_restores_this_schema(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = world.register()
    before = shape(world.database)
    migrate_to_next(world.database, tmp_path, monkeypatch, "")
    with monkeypatch.context() as patched:
        patched.setattr(migrations, "__file__", str(tmp_path / "next" / "__init__.py"))
        with pytest.raises(typer.Abort):
            command_of(world, input_="n\n")
        assert read_schema_version(world.database) == "0009"
        command_of(world, "--yes")
    assert read_schema_version(world.database) == SCHEMA_VERSION
    assert shape(world.database) == before
    check_tables(world.database)
    with world.authenticator() as authenticator:
        assert authenticator.decide(FakeRequest(keys.basic())).passes


def command_of(world: World, *options: str, input_: str = "") -> None:
    """Run `octy db downgrade` in this process."""
    told = CliRunner().invoke(app, ["--database", world.url, "db", "downgrade", *options], input=input_)
    if told.exit_code:
        raise typer.Abort
