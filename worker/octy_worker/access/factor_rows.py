"""Rows of second factors, of every kind. A row counts only with a right code, and only while it was not removed.

What granted a factor stands in its row: an admin's order, or the bootstrap.
"""

from collections.abc import Mapping, Sequence

from sqlalchemy import insert, update
from sqlmodel import Session, col, select

from octy_middleware.clock import to_micros, utc, uuid7
from octy_middleware.db.models import AuditEntry, StaffFactor
from octy_worker.access.factor_kinds import FactorKind
from octy_worker.access.row_macs import RowMacs
from octy_worker.audit import repository as audit

BOOTSTRAP = "bootstrap"
"""What granted role and first factor of the first admin, in place of an order."""
ADDED, REMOVED = "staff.factor_added", "staff.factor_removed"
"""Actions of audit entries. Subject of the first: the staff member's id; of the second: the factor's."""


class FactorRows:
    """Adds, finds and removes factors in the caller's transaction."""

    def __init__(self, macs: RowMacs) -> None:
        self._macs = macs

    def add(
        self, session: Session, staff_id: str, kind: FactorKind, secret: str, *, granted_by: str, actor: str,
        now: float, label: str = "", counter: int = 0, factor_id: str | None = None,
        detail: Mapping[str, object] | None = None,
    ) -> str:  # fmt: skip
        """Add a factor; return its id. `secret`: TOTP: the sealed seed; others: a public key."""
        row = {
            "id": factor_id or uuid7(now),
            "staff_id": staff_id,
            "kind": str(kind),
            "secret": secret,
            "granted_by": granted_by,
        }
        mac = self._macs.make("staff_factor", {**row, "removed_at": 0})
        values = {**row, "label": label, "counter": counter, "created_at": utc(now), "mac": mac}
        session.connection().execute(insert(StaffFactor), values)
        audit.append(
            session, ADDED, actor=actor, subject=staff_id, order_id=order_id_of(granted_by),
            detail={**(detail or {}), "factor": row["id"], "kind": row["kind"], "granted_by": granted_by}, now=now,
        )  # fmt: skip
        return row["id"]

    def of(self, session: Session, staff_id: str, kind: FactorKind | None = None) -> Sequence[StaffFactor]:
        """Return the factors of a person that count."""
        query = select(StaffFactor).where(StaffFactor.staff_id == staff_id).order_by(col(StaffFactor.id))
        if kind is not None:
            query = query.where(StaffFactor.kind == kind)
        return [row for row in session.exec(query).all() if self.counts(session, row)]

    def counts(self, session: Session, row: StaffFactor) -> bool:
        """Return whether a row was written by this system, and was not removed: not even if it was written back."""
        return row.removed_at is None and self.is_right(row) and newest_order(session, row.id, REMOVED) is None

    def is_right(self, row: StaffFactor) -> bool:
        """Return whether a row has a right code."""
        return self._macs.is_right(row.mac, "staff_factor", _fields(row))

    def remove_all(self, session: Session, staff_id: str, *, granted_by: str, by: str, now: float) -> int:
        """Remove all factors of a person for good, with their seeds; return how many."""
        rows = self.of(session, staff_id)
        for row in rows:
            secret = "" if row.kind == FactorKind.TOTP else row.secret  # a public key is needed to verify old orders
            removed = {**_fields(row), "secret": secret, "removed_at": to_micros(now)}
            session.connection().execute(
                update(StaffFactor)
                .where(col(StaffFactor.id) == row.id)
                .values(secret=secret, removed_at=utc(now), mac=self._macs.make("staff_factor", removed))
            )
            audit.append(
                session, REMOVED, actor=by, subject=row.id, order_id=order_id_of(granted_by),
                detail={"staff": staff_id}, now=now,
            )  # fmt: skip
        return len(rows)


def order_id_of(granted_by: str) -> str:
    """Return the order of a grant as the audit log has it; the bootstrap is none."""
    return "" if granted_by == BOOTSTRAP else granted_by


def newest_order(session: Session, subject: str, action: str) -> str | None:
    """Return the order id of the newest audit entry of this action about a subject; None without one."""
    query = select(AuditEntry.order_id).where(AuditEntry.subject == subject, AuditEntry.action == action)
    return session.exec(query.order_by(col(AuditEntry.seq).desc()).limit(1)).first()


def _fields(row: StaffFactor) -> dict[str, str | int]:
    fields: dict[str, str | int] = {
        name: getattr(row, name) for name in ("id", "staff_id", "kind", "secret", "granted_by")
    }
    return {**fields, "removed_at": 0 if row.removed_at is None else to_micros(row.removed_at.timestamp())}
