"""A worker's start: the database is its installation's own, and still where it was.

Here: what a worker registers at its first start, and what it refuses. Not here: the rows
(`octy_middleware.installation`).
"""

from octy_middleware.database import Database
from octy_middleware.errors import ConfigurationError
from octy_middleware.installation import Installation, record_place, register_installation

_COPIED = (
    "this database is not where installation {id} had it: a copy must not act for the original. If the original is "
    "gone and this is its new place, run `octy db adopt --moved`; if this is a copy, for example for tests, run "
    "`octy db adopt --copy`"
)


def claim_installation(database: Database, now: float) -> str:
    """Return the installation's id; the first start makes it. Raises ConfigurationError for a copied database."""
    with database.write() as connection:
        found = register_installation(database, connection, now)
        if not found.is_in_place:
            raise ConfigurationError(copied(found))
        if found.recorded != found.found:  # renamed, or its device has another number since a reboot
            record_place(connection, found.id, found.found)
    return found.id


def copied(found: Installation) -> str:
    """Return what to say of a database that is in another place than recorded."""
    return _COPIED.format(id=found.id)
