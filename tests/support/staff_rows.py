"""Copies of rows of staff: each person costs a dozen statements, and most tests begin with the same few."""

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Table, delete, insert
from sqlmodel import Session, select

from octy_middleware.db.models import AuditEntry

StaffRows = Sequence[tuple[Table, list[dict[str, Any]]]]
"""All rows about staff, and the audit log; in an order in which they can be inserted."""

_TABLES = [table for table in AuditEntry.metadata.sorted_tables if table.name.startswith(("staff", "audit_entry"))]
_written: dict[object, StaffRows] = {}


def write_or_copy(session: Session, key: object, write: Callable[[], None]) -> None:
    """Have `write` add staff. Where it did so before for an equal key, and the audit log is empty, copy those rows.

    `key`: all that the rows depend on, so also the keychain of their codes.
    """
    is_new = session.exec(select(AuditEntry.seq).limit(1)).first() is None
    if is_new and key in _written:
        _insert(session, _written[key])
        return
    write()
    if is_new:
        _written[key] = read_staff_rows(session)


def read_staff_rows(session: Session) -> StaffRows:
    connection = session.connection()
    found = [(table, [dict(row) for row in connection.execute(select(table)).mappings()]) for table in _TABLES]
    return [(table, rows) for table, rows in found if rows]


def replace_staff_rows(session: Session, rows: StaffRows) -> None:
    """Have the database hold these rows and no others."""
    for table in reversed(_TABLES):
        session.connection().execute(delete(table))
    _insert(session, rows)


def _insert(session: Session, found: StaffRows) -> None:
    for table, rows in found:
        session.connection().execute(insert(table), rows)
