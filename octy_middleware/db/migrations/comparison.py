"""Differences between the tables of a database and the models, in words.

Other tables are ignored: the database may be shared with the host app.
"""

import re
from collections.abc import Iterator
from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, inspect

from octy_middleware.db.models import METADATA

_TEXTS = {
    "add_table": "the table {0} is missing",
    "add_column": "the table {1} lacks the column {2}",
    "remove_column": "the table {1} has a column {2} that is not ours",
    "add_index": "the index {0} is missing",
    "remove_index": "the index {0} is not ours",
    "add_constraint": "the constraint {0} is missing",
    "remove_constraint": "the constraint {0} is not ours",
    "add_fk": "the foreign key {0} is missing",
    "remove_fk": "the foreign key {0} is not ours",
    "modify_nullable": "in {1}, the column {2} should {not_}take NULL",
    "modify_type": "in {1}, the column {2} is of the type {4} and should be {5}",
    "modify_default": "in {1}, the column {2} has another default of the server's",
}


def differences(connection: Connection, *, extra: bool = True) -> list[str]:
    """Return the differences, one line each. `extra`: also columns, indexes and constraints beyond the models."""
    options = {"compare_type": True, "compare_server_default": _differ, "include_name": _is_ours}
    context = MigrationContext.configure(connection, opts=options)
    found = compare_metadata(context, METADATA)
    changes = [change for entry in found for change in (entry if isinstance(entry, list) else [entry])]
    if not extra:
        changes = [change for change in changes if not change[0].startswith("remove_")]
    return sorted({*map(_describe, changes), *_wrong_conditions(connection)})


def _is_ours(name: str | None, kind: str, _parents: object) -> bool:
    return kind != "table" or name in METADATA.tables


def _differ(  # as Alembic calls it
    _context: object, _found: object, _wanted: object, found: str | None, _default: object, wanted: str | None
) -> bool | None:
    """Compare two defaults; None leaves it to Alembic, which is wrong about an empty text on SQLite only."""
    if found is None or wanted is None:
        return None
    return False if found.strip("()'") == wanted.strip("()'") else None


def _describe(change: tuple[Any, ...]) -> str:
    kind, *rest = change
    parts = [getattr(part, "name", part) for part in rest]
    takes_null = "" if kind != "modify_nullable" or rest[-1] else "not "
    return _TEXTS.get(kind, str(kind)).format(*map(str, parts), not_=takes_null)


def _wrong_conditions(connection: Connection) -> Iterator[str]:
    """Compare the conditions of partial indexes, which Alembic does not: one keeps a key pair to one open incident."""
    dialect = connection.dialect.name
    inspector = inspect(connection)
    for table in METADATA.sorted_tables:
        if not inspector.has_table(table.name):
            continue
        existing = {index["name"]: index.get("dialect_options", {}) for index in inspector.get_indexes(table.name)}
        for index in table.indexes:
            wanted = _plain(index.dialect_options[dialect]["where"])
            if index.name in existing and _plain(existing[index.name].get(f"{dialect}_where")) != wanted:
                yield f"the index {index.name} has another condition"


def _plain(condition: object) -> str:
    """Return a condition without the parentheses and spaces that differ between databases."""
    return "" if condition is None else re.sub(r"[()\s]", "", str(condition)).lower()
