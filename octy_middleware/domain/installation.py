"""The installation that a database belongs to: its id, and the location where the database was last confirmed.

The id is part of the names of task queues and of all workflow ids, so that installations can share a Temporal
namespace. A copy of a database contains the same id, but is at another location.
"""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, update
from sqlmodel import col, select

from octy_middleware.clock import utc
from octy_middleware.db.database import Database
from octy_middleware.db.models import InstallationRow
from octy_middleware.errors import ConfigurationError

_ID_BYTES = 8

Location = Mapping[str, Any]
"""Where a database is, as `Backend.location` returns it: plain JSON."""


@dataclass(frozen=True, slots=True)
class Installation:
    """The row, and the current location of the database."""

    id: str
    recorded_location: Location
    current_location: Location

    @property
    def is_at_recorded_location(self) -> bool:
        """Whether the database is where it was when its location was last recorded."""
        return is_same_location(self.recorded_location, self.current_location)


def new_installation_id() -> str:
    """Return a fresh id: 16 hexadecimal digits."""
    return secrets.token_hex(_ID_BYTES)


def is_same_location(recorded: Location, found: Location) -> bool:
    """Whether two locations are of one database.

    A file is the same when its inode is, and its path or its device: devices get new numbers at a reboot, and a file
    may be renamed. A database on a server is the same when its oid is, and the server's system identifier where both
    locations have it: a role may have no right to read that.
    """
    if recorded.get("kind") != found.get("kind"):
        return False
    if found["kind"] == "sqlite":
        same_volume = recorded["path"] == found["path"] or recorded["device"] == found["device"]
        return bool(recorded["inode"] == found["inode"] and same_volume)
    systems = {recorded.get("system"), found.get("system")} - {None}
    return bool(recorded["database"] == found["database"]) and len(systems) <= 1


def load_installation(database: Database, connection: Connection) -> Installation | None:
    """Return the installation of this database, or None before it has one."""
    row = connection.execute(select(col(InstallationRow.id), col(InstallationRow.location))).first()
    return None if row is None else Installation(row[0], row[1], database.backend.location(connection))


def read_installation_id(connection: Connection) -> str:
    """Return the installation's id. Raises ConfigurationError, with what to do, before there is one."""
    found: str | None = connection.execute(select(col(InstallationRow.id))).scalar()
    if found is None:
        raise ConfigurationError("the database has no installation id yet: run `octy db upgrade`")
    return found


def installation_id(database: Database) -> str:
    """Return the installation's id, as `read_installation_id` does, in a transaction of its own."""
    with database.read() as connection:
        return read_installation_id(connection)


def register_installation(
    database: Database, connection: Connection, now: float, *, new_id: Callable[[], str] = new_installation_id
) -> Installation:
    """Return the installation; the first call creates it. Needs a transaction that writes."""
    found = load_installation(database, connection)
    if found is not None:
        return found
    location = database.backend.location(connection)
    created = Installation(new_id(), location, location)
    values = {"slot": 1, "id": created.id, "location": location, "created_at": utc(now)}
    connection.execute(insert(InstallationRow), values)
    return created


def record_location(connection: Connection, installation_id: str, location: Location) -> None:
    """Record the installation's id and the location of the database."""
    connection.execute(update(InstallationRow).values(id=installation_id, location=dict(location)))
