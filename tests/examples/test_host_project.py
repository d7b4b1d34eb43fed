"""A host project (FastAPI, SQLModel, Alembic) with models named as Octy's: it runs beside Octy as it ran without.

Both are in one database: on PostgreSQL Octy has a schema of its own; in a SQLite file the host's tables have other
names. With tables of the same names, Octy has a SQLite file of its own.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
from support.databases import make_empty_database, remove_database
from support.preloaded import Preloaded, preloaded

from octy_middleware import Database
from octy_middleware.db.migrations import check_tables, upgrade
from octy_middleware.db.schema_version import SCHEMA_VERSION
from octy_middleware.keys.keychain import Keychain

PROJECT = Path(__file__).parent / "host_project"
PACKAGES = ("alembic.config", "alembic.autogenerate", "fastapi.testclient", "psycopg", "pytest", "sqlmodel")


class Host:
    """A copy of the project, its database, and perhaps Octy's."""

    def __init__(
        self, process: Preloaded, folder: Path, url: str, octy: str | None, *, prefix: str, ignored: str = "nothing"
    ) -> None:
        self.process = process
        self.folder = Path(shutil.copytree(PROJECT, folder, ignore=shutil.ignore_patterns("__pycache__")))
        self.octy = octy
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("OCTY_", "PYTEST_"))},
            "HOST_DATABASE_URL": url.replace("postgresql:", "postgresql+psycopg:"),
            "HOST_TABLE_PREFIX": prefix,
            "HOST_ALEMBIC_IGNORES": ignored,
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            **({"OCTY_DATABASE_URL": octy, "OCTY_PEPPERS": Keychain.generate().export()} if octy else {}),
        }

    def run(self, *command: str) -> str:
        code, told = self.process.run(self.folder, command, self._environment)
        assert code == 0, told
        return told

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


@pytest.fixture(scope="module")
def process() -> Iterator[Preloaded]:
    """Yield a process that has the packages of the project, and neither its modules nor Octy's."""
    with preloaded(*PACKAGES) as process:
        yield process


@pytest.fixture(scope="module")
def live_alone(process: Preloaded, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], tuple[str, str]]:
    """Return what becomes of a project without Octy, on a kind of database and with a prefix of its tables' names."""

    @cache
    def live(database_kind: str, prefix: str) -> tuple[str, str]:
        folder = tmp_path_factory.mktemp("without")
        with new_database(folder / "database", database_kind) as url:
            return Host(process, folder / "project", url, None, prefix=prefix).live()

    return live


@pytest.mark.parametrize("number", [0, 1])
def test_host_project_tests_autogenerates_and_upgrades_with_octy_as_without(
    tmp_path: Path,
    process: Preloaded,
    live_alone: Callable[[str, str], tuple[str, str]],
    database_kind: str,
    number: int,
) -> None:
    layout = LAYOUTS[database_kind][number]
    alone = live_alone(database_kind, layout.prefix)
    with new_database(tmp_path / "with", database_kind) as url:
        octy = layout.octy.format(folder=tmp_path, host=url)
        host = Host(process, tmp_path / "with/project", url, octy, prefix=layout.prefix, ignored=layout.ignored)
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
def new_database(folder: Path, database_kind: str) -> Iterator[str]:
    folder.mkdir()
    url = make_empty_database(folder, database_kind)
    yield url
    remove_database(url)
