"""The audit log as staff read it: a list with filters, newest first."""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement
from sqlmodel import Session, col, select

from octy_middleware.clock import EPOCH, to_micros
from octy_middleware.db.models import AuditEntry
from octy_worker.reports.models import AuditLine


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which entries are listed; an empty filter lists all. An `action` that ends with a point is a prefix."""

    subject: str = ""
    actor: str = ""
    action: str = ""
    since: datetime | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return the SQL conditions."""
        action = col(AuditEntry.action)
        found = {
            "subject": col(AuditEntry.subject) == self.subject,
            "actor": col(AuditEntry.actor) == self.actor,
            "action": action.startswith(self.action, autoescape=True)
            if self.action.endswith(".")
            else action == self.action,
        }
        conditions = [condition for name, condition in found.items() if getattr(self, name)]
        if self.since is not None:
            conditions.append(col(AuditEntry.at) >= to_micros(self.since.timestamp()))
        return conditions


def list_audit(
    session: Session, which: AuditFilter, *, limit: int | None = None, offset: int = 0
) -> tuple[AuditLine, ...]:
    """Return entries that the filter lets through, newest first."""
    query = select(AuditEntry).where(*which.conditions()).order_by(col(AuditEntry.seq).desc())
    return tuple(_line(entry) for entry in session.exec(query.limit(limit).offset(offset)))


def _line(entry: AuditEntry) -> AuditLine:
    at = EPOCH + timedelta(microseconds=entry.at)
    detail = None if entry.detail is None else json.loads(entry.detail)
    return AuditLine(entry.seq, at, entry.actor, entry.action, entry.subject, entry.order_id, detail, entry.hash)
