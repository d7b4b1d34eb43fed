"""Creates and removes databases for tests: SQLite files, or databases of a PostgreSQL server; copies of a migrated one.

The server is in `postgres`; used databases are reset by `database_reset`; `world` puts rows into them.
"""

import atexit
import os
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from itertools import count
from pathlib import Path

from octy_middleware import Database
from octy_middleware.db.migrations import upgrade
from support.database_reset import reset, schema_digest
from support.postgres import PostgresServer, shared_server

DATABASES = ("sqlite", "postgresql")
_TEMPLATE = "octy_template"
_numbers = count(1)
_digests: dict[int, str] = {}  # by port of a server: what its template looks like
_clean: defaultdict[int, list[str]] = defaultdict(list)  # by port: databases that are as new


def make_database(folder: Path, database_kind: str, server: PostgresServer | None = None) -> str:
    """Return the URL of a fresh, migrated database: in the folder, or on the server (this process's by default)."""
    if database_kind == "sqlite":
        path = folder / "octy.db"
        shutil.copy(_template_file(), path)
        return f"sqlite:///{path}"
    server = server or shared_server()
    if server.port not in _digests:
        server.create(_TEMPLATE)
        _migrate(server.url(_TEMPLATE))
        _digests[server.port] = schema_digest(server.url(_TEMPLATE))
    if _clean[server.port]:
        return _clean[server.port].pop()
    return make_empty_database(folder, database_kind, server, template=_TEMPLATE)


def make_empty_database(
    folder: Path, database_kind: str, server: PostgresServer | None = None, *, template: str = "template0"
) -> str:
    """Return the URL of a database without tables; of a file there is none yet."""
    if database_kind == "sqlite":
        return f"sqlite:///{folder / 'empty.db'}"
    server = server or shared_server()
    name = f"octy_{next(_numbers)}"
    server.create(name, template=template)
    return server.url(name)


def away_url(folder: Path, database_kind: str) -> str:
    """Return where a database could be, and is not: its folder is away, or nothing listens there."""
    return f"sqlite:///{folder}/nowhere/octy.db" if database_kind == "sqlite" else "postgresql://octy@127.0.0.1:9/octy"


@contextmanager
def taken_away(url: str, server: PostgresServer | None = None) -> Iterator[None]:
    """Have a database be away for the block, for those too who are connected."""
    if not url.startswith("postgresql"):
        path = Path(url.removeprefix("sqlite:///"))
        hidden = path.rename(path.with_name("hidden"))
        yield
        hidden.rename(path)
        return
    server, name = server or shared_server(), url.rpartition("/")[2]
    server.lock_out(name)
    yield
    server.let_in(name)


def remove_database(url: str, server: PostgresServer | None = None) -> None:
    """Give back a database of a server; a file goes with its folder. Making one costs ten times as much as washing."""
    if not url.startswith("postgresql"):
        return
    server = server or shared_server()
    if server.port in _digests and reset(url, digest=_digests[server.port]):
        _clean[server.port].append(url)
    else:
        server.drop(url.rpartition("/")[2])


@cache
def _template_file() -> Path:
    """The migrations themselves are tested in one place, not before each test."""
    # Not in `tempfile.tempdir`: the test that asks first may have set it to a folder of its own.
    path = Path(tempfile.mkdtemp(prefix="octy-template-", dir=os.environ.get("TMPDIR"))) / "octy.db"
    atexit.register(remove_template)
    _migrate(f"sqlite:///{path}")
    return path


def remove_template() -> None:
    """Leave nothing behind; for those who end by os._exit, which runs no clean-up."""
    if _template_file.cache_info().currsize:
        shutil.rmtree(_template_file().parent, ignore_errors=True)


def _migrate(url: str) -> None:
    database = Database(url)
    upgrade(database)
    database.close()  # the last connection folds the log into the file
