"""Rows of the change feed, which the tests write because they are short and refer to nothing."""

from octy_middleware import Database
from octy_middleware.db.bulk_sql import run


def put_change(database: Database, public_key: str = "pk_x") -> None:
    """Write one row."""
    with database.write() as connection:
        run(connection, "INSERT INTO key_change (public_key, at) VALUES (?, 1)", public_key)


def changed_keys(database: Database) -> list[str]:
    """Return the public keys of all rows, in order."""
    with database.read() as connection:
        return [key for (key,) in run(connection, "SELECT public_key FROM key_change ORDER BY seq")]
