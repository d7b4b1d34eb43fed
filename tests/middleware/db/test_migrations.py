"""Migrations on both databases: upgrade, downgrade, concurrent upgrades, and a start with another schema."""

import shutil
import sys
import threading
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import text
from support.databases import make_empty_database, remove_database
from support.world import World

from middleware.db.table_shapes import fill, rows, shape, tables_of
from octy_middleware import ConfigurationError, Database, DatabaseUnavailableError, SchemaError
from octy_middleware.db import migrations
from octy_middleware.db.backend import WriteMode
from octy_middleware.db.migrations import check_tables, downgrade, upgrade
from octy_middleware.db.models import METADATA
from octy_middleware.db.schema_version import (
    SCHEMA_VERSION,
    check_schema,
    check_schema_if_available,
    read_schema_version,
)

pytestmark = pytest.mark.usefixtures("compared_each_time")
OLDER, NEWER = "0000", "9999"  # than any schema of ours
SCRIPTS = Path(str(migrations.__file__)).parent


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


def set_version(database: Database, version: str) -> None:
    with database.write() as connection:
        connection.execute(text(f"UPDATE octy_schema_version SET version_num = '{version}'"))


@pytest.mark.parametrize(("found", "message"), [(OLDER, "can.t migrate from there"), (NEWER, "install the newer")])
def test_unknown_schema_is_left_unchanged(world: World, found: str, message: str) -> None:
    set_version(world.database, found)
    with pytest.raises(SchemaError, match=f"at schema {found}, .*{message}"):
        upgrade(world.database)
    assert read_schema_version(world.database) == found


def test_downgrade_to_an_unknown_schema_is_rejected(world: World) -> None:
    with pytest.raises(SchemaError, match=f"at schema {SCHEMA_VERSION}, .*can't migrate from there to nowhere"):
        downgrade(world.database, "nowhere")
    check_schema(world.database)


def test_upgrade_without_alembic_is_rejected_with_what_to_do(empty: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "alembic.config", None)
    with pytest.raises(ConfigurationError, match=r"alembic is missing: .*octy-middleware\[worker\]"):
        upgrade(empty)


@pytest.mark.parametrize(
    ("version", "told"),
    [
        (OLDER, f"at schema {OLDER}, this release needs {SCHEMA_VERSION}: run `octy db upgrade`"),
        (NEWER, f"at schema {NEWER}, newer than this release's {SCHEMA_VERSION}: install the newer release"),
        (None, "no tables yet: run `octy db upgrade`"),
    ],
)
def test_start_with_another_schema_fails_with_what_to_do(world: World, version: str | None, told: str) -> None:
    check_schema_if_available(world.database)
    if version is None:
        downgrade(world.database, "base")
    else:
        set_version(world.database, version)
    for check in (check_schema, check_schema_if_available):
        with pytest.raises(SchemaError, match=told):
            check(world.database)
