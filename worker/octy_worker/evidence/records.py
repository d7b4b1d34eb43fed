"""Which entries of the audit log, and which orders, belong to an incident.

These are the entries about the incident, its key pairs and their replacement; the orders that they name; what gave the
authors of these orders role and second factor, up to the bootstrap; and the erasures of the incident's account.
"""

from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, or_
from sqlmodel import Session, col, select

from octy_middleware.db.models import AuditEntry, Incident, KeyPair, Regeneration, Staff, StaffOrder
from octy_worker.audit.chain import ERASED, Entry

_GRANTS = "staff."
"""What the actions of entries about staff begin with."""


@dataclass(frozen=True, slots=True)
class Records:
    """Entries in their order, with details; orders by time of receipt. `subjects`: of the incident itself, sorted."""

    subjects: list[str]
    entries: list[Entry]
    orders: list[StaffOrder]


@dataclass(slots=True)
class _Found:
    subjects: set[str]
    entries: dict[int, Entry] = field(default_factory=dict)
    orders: dict[str, StaffOrder] = field(default_factory=dict)

    @property
    def size(self) -> int:
        return len(self.entries) + len(self.orders)


def collect_records(session: Session, incident: Incident) -> Records:
    """Return what belongs to an incident."""
    found = _Found(_subjects(session, incident))
    erasures = (col(AuditEntry.action) == ERASED) & (col(AuditEntry.subject) == incident.account_id)
    _add_entries(session, found, erasures)
    before = -1
    while found.size > before:  # an order leads to its author, who was granted a role by an order
        before = found.size
        _add_entries(session, found, col(AuditEntry.subject).in_(found.subjects))
        named = {entry.order_id for entry in found.entries.values()} | {
            order.part_of for order in found.orders.values()
        }
        _add_orders(session, found, named)
        _add_entries(session, found, col(AuditEntry.order_id).in_(found.orders))
        _add_grants(session, found)
    entries = [found.entries[seq] for seq in sorted(found.entries)]
    return Records(
        sorted(found.subjects), entries, sorted(found.orders.values(), key=lambda order: (order.received_at, order.id))
    )


def _subjects(session: Session, incident: Incident) -> set[str]:
    """Return the ids of the incident, its replacements, and their key pairs; also the public keys of these."""
    pairs, regenerations = {incident.key_pair_id}, set()
    if incident.regeneration_id:
        regeneration = session.get_one(Regeneration, incident.regeneration_id)
        regenerations.add(regeneration.id)
        pairs |= {pair for pair in (regeneration.old_pair_id, regeneration.new_pair_id) if pair}
    public_keys = session.exec(select(KeyPair.public_key).where(col(KeyPair.id).in_(pairs))).all()
    return {incident.id, *regenerations, *pairs, *public_keys}


def _add_entries(session: Session, found: _Found, condition: ColumnElement[bool]) -> None:
    columns = [getattr(AuditEntry, name) for name in Entry._fields]
    for row in session.connection().execute(select(*columns).where(condition)).all():
        found.entries[row.seq] = Entry(*row)


def _add_orders(session: Session, found: _Found, ids: set[str]) -> None:
    about = found.subjects | found.orders.keys()  # an approval is about an order
    condition = or_(col(StaffOrder.id).in_(ids - {""}), col(StaffOrder.subject).in_(about))
    found.orders |= {order.id: order for order in session.exec(select(StaffOrder).where(condition))}


def _add_grants(session: Session, found: _Found) -> None:
    handles = {order.actor for order in found.orders.values()}
    staff_ids = set(session.exec(select(Staff.id).where(col(Staff.handle).in_(handles))))
    about = col(AuditEntry.subject).in_(handles | staff_ids)
    _add_entries(session, found, col(AuditEntry.action).startswith(_GRANTS, autoescape=True) & about)
