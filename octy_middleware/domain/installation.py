"""The installation that a database belongs to: its id, and the location where the database was last confirmed.

The id is part of the names of task queues and of all workflow ids, so that installations can share a Temporal
namespace. A copy of a database contains the same id, but is at another location.
"""

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

from octy_middleware.clock import to_micros
from octy_middleware.db.bulk_sql import run
from octy_middleware.db.database import Database
from octy_middleware.errors import ConfigurationError

_ID_BYTES = 8
_ROW = text("SELECT id, location FROM installation")
_INSERT = "INSERT INTO installation (slot, id, location, created_at) VALUES (1, ?, ?, ?)"
_UPDATE = "UPDATE installation SET id = ?, location = ?"

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


def new_installation_id(random_hex: Callable[[int], str] = secrets.token_hex) -> str:
    """Return a fresh id: 16 hexadecimal digits."""
    return random_hex(_ID_BYTES)


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
    row = connection.execute(_ROW).first()
    return (
        None
        if row is None
        else Installation(str(row[0]), _parse_location(row[1]), database.backend.location(connection))
    )


def _parse_location(location: Any) -> Location:
    """Return JSON as a mapping: only the PostgreSQL driver parses it itself."""
    loaded: Location = json.loads(location) if isinstance(location, str) else location
    return loaded


def read_installation_id(connection: Connection) -> str:
    """Return the installation's id. Raises ConfigurationError, with what to do, before there is one."""
    found = connection.execute(_ROW).first()
    if found is None:
        raise ConfigurationError("the database has no installation id yet: run `octy db upgrade`")
    return str(found[0])


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
    run(connection, _INSERT, created.id, json.dumps(location), to_micros(now))
    return created


def record_location(connection: Connection, installation_id: str, location: Location) -> None:
    """Record the installation's id and the location of the database."""
    run(connection, _UPDATE, installation_id, json.dumps(location))
