"""The version of the database, and settings of a server under which a commit is not on disk when it is said to be.

Here: one look at each, and what is needed. Not here: who asks (`cli.checks`), what our own sessions overrule
(`octy_middleware.db.postgres`).
"""

import sqlite3
from dataclasses import dataclass

from octy_middleware.db.bulk_sql import run
from octy_middleware.db.database import Database

_LEAST_SQLITE = (3, 35)  # RETURNING
_LEAST_POSTGRESQL = (10,)  # psycopg 3 speaks to none before; our own statements need 9.6
_UNSAFE = ("fsync", "full_page_writes")  # `synchronous_commit=off` is overruled in each of our transactions
_OFF = "SELECT name FROM pg_settings WHERE name IN (?, ?) AND setting = 'off' ORDER BY name"
_VERSION = "SELECT current_setting('server_version'), current_setting('server_version_num')"


@dataclass(frozen=True, slots=True)
class DatabaseVersion:
    """A version as the database names it, and the oldest one that Octy's statements run on."""

    product: str
    name: str
    number: tuple[int, ...]
    least: tuple[int, ...]

    @property
    def is_too_old(self) -> bool:
        """Tell whether something that Octy needs is missing in it."""
        return self.number < self.least


def version_of(database: Database) -> DatabaseVersion:
    """Return the server's version, or that of the SQLite library of this Python. Raises OctyError."""
    if database.url.get_backend_name() == "sqlite":
        return sqlite_version(sqlite3.sqlite_version)
    with database.read() as connection:
        [(name, number)] = run(connection, _VERSION)
    return postgresql_version(str(name), int(number))


def sqlite_version(name: str) -> DatabaseVersion:
    """Return a version of SQLite by its name, such as 3.40.1."""
    return DatabaseVersion("SQLite", name, tuple(map(int, name.split("."))), _LEAST_SQLITE)


def postgresql_version(name: str, number: int) -> DatabaseVersion:
    """Return a version of PostgreSQL: its name, and its number, such as 150004; before 10 the first is 90624."""
    return DatabaseVersion("PostgreSQL", name, (number // 10_000,), _LEAST_POSTGRESQL)


def unsafe_settings(database: Database) -> list[str]:
    """Return the server's settings that are off and let a power loss take what was committed. Raises OctyError."""
    if database.url.get_backend_name() == "sqlite":
        return []  # each connection of ours sets what it needs
    with database.read() as connection:
        return [str(name) for (name,) in run(connection, _OFF, *_UNSAFE)]
