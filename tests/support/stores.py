"""Where a test's database is: a SQLite file, or a database of a PostgreSQL server; each a copy of a migrated one.

Here: making and removing them. Not here: the server (`postgres`), what is put into them (`world`).
"""

import atexit
import shutil
import tempfile
from functools import cache
from itertools import count
from pathlib import Path

from octy_middleware import Database
from octy_middleware.migrations import upgrade
from support.postgres import PostgresServer, shared_server

STORES = ("sqlite", "postgresql")
_TEMPLATE = "octy_template"
_numbers = count(1)
_migrated: set[int] = set()  # ports of servers that have the template


def make_database(folder: Path, store: str, server: PostgresServer | None = None) -> str:
    """Return the URL of a fresh, migrated database: in the folder, or on the server (this process's by default)."""
    if store == "sqlite":
        path = folder / "octy.db"
        shutil.copy(_template_file(), path)
        return f"sqlite:///{path}"
    server = server or shared_server()
    if server.port not in _migrated:
        server.create(_TEMPLATE)
        _migrate(server.url(_TEMPLATE))
        _migrated.add(server.port)
    name = f"octy_{next(_numbers)}"
    server.create(name, template=_TEMPLATE)
    return server.url(name)


def remove_database(url: str, server: PostgresServer | None = None) -> None:
    """Drop a database of a server; a file goes with its folder."""
    if url.startswith("postgresql"):
        (server or shared_server()).drop(url.rpartition("/")[2])


@cache
def _template_file() -> Path:
    """The migrations themselves are tested in one place, not before each test."""
    path = Path(tempfile.mkdtemp(prefix="octy-template-")) / "octy.db"
    atexit.register(shutil.rmtree, path.parent, ignore_errors=True)
    _migrate(f"sqlite:///{path}")
    return path


def _migrate(url: str) -> None:
    database = Database(url)
    upgrade(database)
    database.close()  # the last connection folds the log into the file
