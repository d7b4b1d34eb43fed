"""The version of the database, and server settings that make a commit unsafe (not on disk after a power loss)."""

import sqlite3
from dataclasses import dataclass

from octy_middleware.db.bulk_sql import run
from octy_middleware.db.database import Database

_MINIMUM_SQLITE = (3, 35)  # RETURNING
_MINIMUM_POSTGRESQL = (10,)  # psycopg 3 needs 10; our own statements need 9.6
_UNSAFE = ("fsync", "full_page_writes")  # not `synchronous_commit`: each of our transactions sets it
_OFF = "SELECT name FROM pg_settings WHERE name IN (?, ?) AND setting = 'off' ORDER BY name"
_VERSION = "SELECT current_setting('server_version'), current_setting('server_version_num')"


@dataclass(frozen=True, slots=True)
class DatabaseVersion:
    """A version, and the minimum that Octy needs."""

    product: str
    name: str
    number: tuple[int, ...]
    minimum: tuple[int, ...]

    @property
    def is_too_old(self) -> bool:
        """Whether it is older than the minimum."""
        return self.number < self.minimum


def read_version(database: Database) -> DatabaseVersion:
    """Return the server's version, or that of the SQLite library of this Python. Raises OctyError."""
    if database.url.get_backend_name() == "sqlite":
        return sqlite_version(sqlite3.sqlite_version)
    with database.read() as connection:
        [(name, number)] = run(connection, _VERSION)
    return postgresql_version(str(name), int(number))


def sqlite_version(name: str) -> DatabaseVersion:
    """Return a version of SQLite by its name, such as 3.40.1."""
    return DatabaseVersion("SQLite", name, tuple(map(int, name.split("."))), _MINIMUM_SQLITE)


def postgresql_version(name: str, number: int) -> DatabaseVersion:
    """Return a version of PostgreSQL: its name, and its number, such as 150004 (90624 for 9.6.24)."""
    return DatabaseVersion("PostgreSQL", name, (number // 10_000,), _MINIMUM_POSTGRESQL)


def unsafe_settings(database: Database) -> list[str]:
    """Return the names of settings that are off, so that a power loss can lose commits. Raises OctyError."""
    if database.url.get_backend_name() == "sqlite":
        return []  # each of our connections sets what it needs
    with database.read() as connection:
        return [str(name) for (name,) in run(connection, _OFF, *_UNSAFE)]
