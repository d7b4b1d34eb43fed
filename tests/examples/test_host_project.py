"""A host project (FastAPI, SQLModel, Alembic) with models named as Octy's: it runs beside Octy as it ran without.

Both are in one database: on PostgreSQL Octy has a schema of its own; in a SQLite file the host's tables have other
names. With tables of the same names, Octy has a SQLite file of its own.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from support.databases import make_empty_database, remove_database

from octy_middleware import Database
from octy_middleware.db.migrations import check_tables, upgrade
from octy_middleware.db.schema_version import SCHEMA_VERSION
from octy_middleware.keys.keychain import Keychain

PROJECT = Path(__file__).parent / "host_project"


class Host:
    """A copy of the project, its database, and perhaps Octy's."""

    def __init__(self, folder: Path, url: str, octy: str | None, prefix: str, ignored: str = "nothing") -> None:
        self.folder = Path(shutil.copytree(PROJECT, folder, ignore=shutil.ignore_patterns("__pycache__")))
        self.octy = octy
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("OCTY_")},
            "HOST_DATABASE_URL": url.replace("postgresql:", "postgresql+psycopg:"),
            "HOST_TABLE_PREFIX": prefix,
            "HOST_ALEMBIC_IGNORES": ignored,
            "PYTHONPATH": str(self.folder),
            "PYTHONDONTWRITEBYTECODE": "1",
            **({"OCTY_DATABASE_URL": octy, "OCTY_PEPPERS": Keychain.generate().export()} if octy else {}),
        }

    def run(self, *command: str) -> str:
        done = subprocess.run(
            [sys.executable, *command],
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def live(self) -> tuple[str, str]:
        """Go through the life of a project; return what autogenerate wrote, and how the tests ended."""
        told = self.run("life.py").strip().splitlines()[-1]
        return (self.folder / "migrations/versions/0002_second.py").read_text(), told.split(" in ")[0]


class Layout(NamedTuple):
    """Where Octy's tables are, what the host's are called, and what its Alembic is told to ignore."""

    octy: str
    prefix: str
    ignored: str
    first: str


LAYOUTS = {
    "sqlite": [
        Layout("sqlite:///{folder}/octy.db", "", "nothing", first="octy"),
        Layout("{host}", "shop_", "tables", first="host"),
    ],
    "postgresql": [
        Layout("{host}?schema=octy_data", "", "nothing", first="host"),
        Layout("{host}?schema=octy_data", "", "schema", first="octy"),
    ],
}


@pytest.mark.parametrize("number", [0, 1])
def test_host_project_tests_autogenerates_and_upgrades_with_octy_as_without(
    tmp_path: Path, store: str, number: int
) -> None:
    layout = LAYOUTS[store][number]
    with new_database(tmp_path / "without", store) as url:
        alone = Host(tmp_path / "without/project", url, None, layout.prefix).live()
    with new_database(tmp_path / "with", store) as url:
        octy = layout.octy.format(folder=tmp_path, host=url)
        host = Host(tmp_path / "with/project", url, octy, layout.prefix, layout.ignored)
        if layout.first == "host":
            host.run("life.py", "migrate")
        with closing(Database(octy)) as database:
            upgrade(database)
            assert host.live() == alone
            assert upgrade(database) == SCHEMA_VERSION
            check_tables(database)
    assert alone[1] == "3 passed"
    assert "nickname" in alone[0]
    assert "_table" not in alone[0].replace("batch_alter_table", "")  # neither creates nor drops one


@contextmanager
def new_database(folder: Path, store: str) -> Iterator[str]:
    folder.mkdir()
    url = make_empty_database(folder, store)
    yield url
    remove_database(url)
