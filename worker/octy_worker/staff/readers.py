"""The readers of `queries`: each opens one read transaction."""

from typing import Any

from octy_middleware.db.models import Incident, Regeneration, StaffOrder
from octy_worker.errors import RefusedError
from octy_worker.reports import queries as reports
from octy_worker.reports.key_delivery import PendingDelivery, pending_delivery
from octy_worker.reports.models import IncidentLine
from octy_worker.staff.bulk_decisions import open_since
from octy_worker.staff.context import StaffContext
from octy_worker.staff.operations import Listed
from octy_worker.staff.queries import (
    AccountRef,
    FoundOrder,
    IncidentKey,
    IncidentKeys,
    IncidentRef,
    ListIncidents,
    OrderId,
    Resendable,
    ResendableRef,
    UnansweredSince,
)
from octy_workflows.messages import MailKind


def list_incidents(context: StaffContext, wanted: ListIncidents) -> Listed[IncidentLine]:
    """Return incidents, newest first."""
    with context.database.read_session() as session:
        which: list[Any] = [] if wanted.closed else [reports.IS_OPEN]
        which += [Incident.account_id == reports.account_of(session, wanted.account).id] if wanted.account else []
        found = reports.list_incidents(session, *which, limit=wanted.limit, offset=wanted.offset)
        return Listed(found, reports.count_rows(session, Incident, *which))


def find_incident(context: StaffContext, wanted: IncidentRef) -> IncidentKey:
    """Return the id of the incident that a text names."""
    with context.database.read_session() as session:
        return IncidentKey(reports.find_incident(session, wanted.incident))


def unanswered(context: StaffContext, wanted: UnansweredSince) -> IncidentKeys:
    """Return the ids of unanswered incidents."""
    with context.database.read_session() as session:
        return IncidentKeys(open_since(session, wanted.since))


def find_resendable(context: StaffContext, wanted: ResendableRef) -> Resendable:
    """Return whose mail is to be sent again. Raises RefusedError when it is that of new keys and there are none."""
    with context.database.read_session() as session:
        incident_id = reports.find_incident(session, wanted.incident)
        regeneration_id = session.get_one(Incident, incident_id).regeneration_id
        new = session.get(Regeneration, regeneration_id) if regeneration_id else None
    if wanted.kind not in {None, MailKind.NEW_KEYS}:
        return Resendable(incident_id, None)
    if new is not None and new.collected_at is None and new.finished_at is None:
        return Resendable(incident_id, new.id)
    if wanted.kind is None:
        return Resendable(incident_id, None)
    raise RefusedError("this incident has no uncollected new keys; nothing was sent")


def pending_keys(context: StaffContext, wanted: AccountRef) -> PendingDelivery:
    """Return an account's uncollected keys."""
    with context.database.read_session() as session:
        return pending_delivery(session, wanted.account, context.clock())


def find_order(context: StaffContext, wanted: OrderId) -> FoundOrder:
    """Return an order as it was signed."""
    with context.database.read_session() as session:
        row = session.get(StaffOrder, wanted.order_id)
        return FoundOrder(None if row is None else row.body)
