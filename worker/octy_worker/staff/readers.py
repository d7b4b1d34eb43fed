"""The readers of `queries`: each opens one read transaction."""

from typing import Any

from sqlmodel import col, select

from octy_middleware.clock import utc
from octy_middleware.db.models import Account, Incident, KeyPair, Regeneration, StaffOrder
from octy_worker.access.order_states import ORDER_TTL, OrderState
from octy_worker.domain.account_erasure import is_erased
from octy_worker.errors import RefusedError
from octy_worker.mail.alert_hold import current_hold
from octy_worker.mail.unsent import unsent_alerts
from octy_worker.outbox.dead_letters import MessageLine, count_undelivered, list_undelivered
from octy_worker.reports import queries as reports
from octy_worker.reports import search
from octy_worker.reports.key_delivery import PendingDelivery, pending_delivery
from octy_worker.reports.models import (
    AccountLine,
    AccountReport,
    IncidentLine,
    IncidentReport,
    KeyReport,
    PairLine,
)
from octy_worker.staff.bulk_decisions import open_since
from octy_worker.staff.context import StaffContext
from octy_worker.staff.operations import Listed, Nothing
from octy_worker.staff.queries import (
    AccountKey,
    AccountRef,
    FoundOrder,
    HeldAlerts,
    IncidentKey,
    IncidentKeys,
    IncidentRef,
    ListIncidents,
    ListKeys,
    ListMessages,
    ListOrders,
    ListPart,
    ListWebhooks,
    OrderLine,
    OrderRef,
    PendingKeysRef,
    Progress,
    Resendable,
    ResendableRef,
    SearchFor,
    ShowAccount,
    ShowKey,
    UnansweredSince,
)
from octy_worker.webhooks.repository import WebhookLine, count_webhooks
from octy_worker.webhooks.repository import list_webhooks as webhooks_of
from octy_workflows.messages import MailKind


def find(context: StaffContext, wanted: SearchFor) -> search.SearchResult:
    """Return what matches a text."""
    with context.database.read_session() as session:
        return search.search(session, wanted.text, limit=wanted.limit)


def list_accounts(context: StaffContext, wanted: ListPart) -> Listed[AccountLine]:
    """Return accounts, newest first."""
    with context.database.read_session() as session:
        found = reports.list_accounts(session, limit=wanted.limit, offset=wanted.offset)
        return Listed(found, reports.count_rows(session, Account))


def show_account(context: StaffContext, wanted: ShowAccount) -> AccountReport:
    """Return one account."""
    with context.database.read_session() as session:
        return reports.show_account(session, wanted.account, context.clock(), limit=wanted.limit)


def find_account(context: StaffContext, wanted: AccountRef) -> AccountKey:
    """Return id and reference of the account that a text names."""
    with context.database.read_session() as session:
        account = reports.account_of(session, wanted.account)
        return AccountKey(account.id, account.reference, is_erased(account))


def list_keys(context: StaffContext, wanted: ListKeys) -> Listed[PairLine]:
    """Return key pairs, newest first."""
    with context.database.read_session() as session:
        which = [KeyPair.account_id == reports.account_of(session, wanted.account).id] if wanted.account else []
        found = reports.list_pairs(session, *which, limit=wanted.limit, offset=wanted.offset)
        return Listed(found, reports.count_rows(session, KeyPair, *which))


def show_key(context: StaffContext, wanted: ShowKey) -> KeyReport:
    """Return one key pair."""
    with context.database.read_session() as session:
        return reports.show_key(session, wanted.public_key, context.clock(), limit=wanted.limit)


def list_messages(context: StaffContext, wanted: ListMessages) -> Listed[MessageLine]:
    """Return undelivered messages, newest first."""
    with context.database.read_session() as session:
        which = {"dead_letters": wanted.dead_letters}
        found = list_undelivered(session, context.clock(), limit=wanted.limit, offset=wanted.offset, **which)
        return Listed(found, count_undelivered(session, **which))


def list_webhooks(context: StaffContext, wanted: ListWebhooks) -> Listed[WebhookLine]:
    """Return webhooks, newest first."""
    with context.database.read_session() as session:
        owner = None if wanted.account is None else reports.account_of(session, wanted.account).id
        found = webhooks_of(session, account_id=owner, failed=wanted.failed, limit=wanted.limit, offset=wanted.offset)
        return Listed(found, count_webhooks(session, account_id=owner, failed=wanted.failed))


def held_alerts(context: StaffContext, _wanted: Nothing) -> HeldAlerts:
    """Return the hold and the unsent alerts."""
    with context.database.read_session() as session:
        hold, unsent = current_hold(session, context.clock()), unsent_alerts(session, context.clock())
        return HeldAlerts(
            hold is not None,
            None if hold is None else hold.evidence,
            None if hold is None else hold.accounts,
            None if hold is None else hold.began_at,
            None if hold is None else hold.ends_at,
            unsent.count,
            unsent.oldest,
        )


def show_incident(context: StaffContext, wanted: IncidentRef) -> IncidentReport:
    """Return one incident."""
    with context.database.read_session() as session:
        return reports.show_incident(session, reports.find_incident(session, wanted.incident))


def follow_incident(context: StaffContext, wanted: IncidentKey) -> Progress:
    """Return an incident's state and timeline."""
    with context.database.read_session() as session:
        return Progress(*reports.show_progress(session, reports.find_incident(session, wanted.incident_id)))


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
    if wanted.ordered == incident_id and wanted.kind is None:
        return Resendable(incident_id, None)
    if new is not None and wanted.ordered == new.id:
        return Resendable(incident_id, new.id)
    if new is not None and new.collected_at is None and new.finished_at is None:
        return Resendable(incident_id, new.id)
    if wanted.kind is None:
        return Resendable(incident_id, None)
    raise RefusedError("this incident has no uncollected new keys; nothing was sent")


def pending_keys(context: StaffContext, wanted: PendingKeysRef) -> PendingDelivery:
    """Return an account's uncollected keys, or those that a repeated order is about."""
    with context.database.read_session() as session:
        return pending_delivery(session, wanted.account, context.clock(), ordered=wanted.ordered)


def find_order(context: StaffContext, wanted: OrderRef) -> FoundOrder:
    """Return an order as it was signed."""
    with context.database.read_session() as session:
        row = session.get(StaffOrder, wanted.order_id)
        return FoundOrder(None if row is None else row.body)


def list_orders(context: StaffContext, wanted: ListOrders) -> Listed[OrderLine]:
    """Return orders, newest first."""
    oldest = utc(context.clock() - ORDER_TTL)
    waiting = [StaffOrder.state == OrderState.WAITING, col(StaffOrder.received_at) >= oldest]
    which: list[Any] = [] if wanted.everything else waiting
    query = select(StaffOrder).where(*which).order_by(col(StaffOrder.received_at).desc(), col(StaffOrder.id).desc())
    with context.database.read_session() as session:
        rows = session.exec(query.limit(wanted.limit).offset(wanted.offset)).all()
        names = OrderLine.__slots__
        found = tuple(OrderLine(**{name: getattr(row, name) for name in names}) for row in rows)
        return Listed(found, reports.count_rows(session, StaffOrder, *which))
