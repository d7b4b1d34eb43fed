"""Beside the next release: its migration keeps the rows, and says whether apps of this release go on."""

import shutil
from pathlib import Path

import pytest
import typer
from support.world import FakeRequest, World
from typer.testing import CliRunner

from middleware.db.table_shapes import fill, rows, shape, tables_of
from octy_middleware import Database, SchemaError
from octy_middleware.db import migrations
from octy_middleware.db.migrations import check_tables, downgrade, upgrade
from octy_middleware.db.models import METADATA
from octy_middleware.db.schema_version import SCHEMA_VERSION, read_schema_version
from octy_worker.cli.app import app

pytestmark = pytest.mark.usefixtures("compared_each_time")
SCRIPTS = Path(str(migrations.__file__)).parent
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
