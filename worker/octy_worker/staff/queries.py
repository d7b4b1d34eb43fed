"""Everything that staff can read: names, inputs, outputs. The readers are in `readers`."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from octy_worker.access.roles import Role
from octy_worker.outbox.dead_letters import MessageLine
from octy_worker.reports.key_delivery import PendingDelivery
from octy_worker.reports.models import (
    AccountLine,
    AccountReport,
    IncidentLine,
    IncidentReport,
    KeyReport,
    PairLine,
    TimelineLine,
)
from octy_worker.reports.search import SearchResult
from octy_worker.staff.audit_queries import AUDIT_QUERIES
from octy_worker.staff.member_operations import LIST_STAFF
from octy_worker.staff.operations import Listed, Nothing, Query
from octy_worker.staff.outputs import ImportOutput
from octy_worker.webhooks.repository import WebhookLine

_READERS = "octy_worker.staff.readers"


@dataclass(frozen=True, slots=True)
class ListIncidents:
    """`closed`: closed ones too. `account`: a reference or id. `limit`: how many rows, None for all."""

    closed: bool = False
    account: str | None = None
    limit: int | None = 200
    offset: int = 0


@dataclass(frozen=True, slots=True)
class IncidentRef:
    """An incident's id, a unique prefix of it, or the id of its workflow."""

    incident: str


@dataclass(frozen=True, slots=True)
class IncidentKey:
    """The complete id of an incident."""

    incident_id: str


@dataclass(frozen=True, slots=True)
class UnansweredSince:
    """The open, unanswered incidents that were opened since a time."""

    since: datetime


@dataclass(frozen=True, slots=True)
class IncidentKeys:
    """Complete ids of incidents, oldest first."""

    incident_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ResendableRef:
    """Which mail of an incident is to be sent again: its kind; None: the last one. `ordered`: subject of a repeat."""

    incident: str
    kind: str | None = None
    ordered: str | None = None


@dataclass(frozen=True, slots=True)
class Resendable:
    """Whose workflow sends it again: a regeneration's if there is one, else the incident's."""

    incident_id: str
    regeneration_id: str | None


@dataclass(frozen=True, slots=True)
class PendingKeysRef:
    """An account's reference or id. `ordered`: the regeneration that a repeated order is about, collected or not."""

    account: str
    ordered: str | None = None


@dataclass(frozen=True, slots=True)
class AccountRef:
    """An account's reference or id."""

    account: str


@dataclass(frozen=True, slots=True)
class AccountKey:
    """An account's id and reference. `erased`: the reference that it had is not known any more."""

    account_id: str
    reference: str
    erased: bool


@dataclass(frozen=True, slots=True)
class ShowAccount:
    """`limit`: how many notices and mails, the newest; None: all."""

    account: str
    limit: int | None = 20


@dataclass(frozen=True, slots=True)
class ListPart:
    """A part of a list: `limit` rows, None for all, after `offset` others."""

    limit: int | None = 200
    offset: int = 0


@dataclass(frozen=True, slots=True)
class ListKeys:
    """`account`: only those of this account, a reference or id."""

    account: str | None = None
    limit: int | None = 200
    offset: int = 0


@dataclass(frozen=True, slots=True)
class ShowKey:
    """`limit`: how many sources, the most frequent; None: all."""

    public_key: str
    limit: int | None = 20


@dataclass(frozen=True, slots=True)
class ListMessages:
    """Undelivered outbox messages. `dead_letters`: only those that failed for good."""

    dead_letters: bool = False
    limit: int | None = 200
    offset: int = 0


@dataclass(frozen=True, slots=True)
class ListWebhooks:
    """`account`: a reference or id. `failed`: only those that failed for good."""

    account: str | None = None
    failed: bool = False
    limit: int | None = 200
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Progress:
    """An incident's state and timeline."""

    incident: IncidentLine
    timeline: tuple[TimelineLine, ...]


@dataclass(frozen=True, slots=True)
class HeldAlerts:
    """Whether alerts are held, why, and what is unsent."""

    held: bool
    evidence: str | None
    accounts: int | None
    began_at: datetime | None
    ends_at: datetime | None
    unsent: int
    oldest_unsent_seconds: float


@dataclass(frozen=True, slots=True)
class SearchFor:
    """`limit`: how many of each kind; None: all."""

    text: str
    limit: int | None = 20


@dataclass(frozen=True, slots=True)
class OrderRef:
    """The id of an order."""

    order_id: str


@dataclass(frozen=True, slots=True)
class FoundOrder:
    """An order's canonical bytes; None: there is none of this id."""

    body: str | None


@dataclass(frozen=True, slots=True)
class ListOrders:
    """`everything`: also orders that don't wait for a second person."""

    everything: bool = False
    limit: int | None = 200
    offset: int = 0


@dataclass(frozen=True, slots=True)
class OrderLine:
    """One order. `factor`: id of the second factor, "hardware-key", "break-glass" or "none"."""

    id: str
    action: str
    subject: str
    actor: str
    state: str
    factor: str
    received_at: datetime
    ended_at: datetime | None
    refusal: str


@dataclass(frozen=True, slots=True)
class CheckImport:
    """A file that is to be imported: in Base64; empty on the host."""

    into_existing: bool
    content: str


SEARCH = Query("find", SearchFor, SearchResult, f"{_READERS}:find")
LIST_ACCOUNTS = Query("accounts.list", ListPart, Listed[AccountLine], f"{_READERS}:list_accounts")
SHOW_ACCOUNT = Query("accounts.show", ShowAccount, AccountReport, f"{_READERS}:show_account")
FIND_ACCOUNT = Query("accounts.find", AccountRef, AccountKey, f"{_READERS}:find_account")
LIST_INCIDENTS = Query("incidents.list", ListIncidents, Listed[IncidentLine], f"{_READERS}:list_incidents")
SHOW_INCIDENT = Query("incidents.show", IncidentRef, IncidentReport, f"{_READERS}:show_incident")
FIND_INCIDENT = Query("incidents.find", IncidentRef, IncidentKey, f"{_READERS}:find_incident")
FOLLOW_INCIDENT = Query("incidents.progress", IncidentKey, Progress, f"{_READERS}:follow_incident")
UNANSWERED = Query("incidents.unanswered", UnansweredSince, IncidentKeys, f"{_READERS}:unanswered")
FIND_RESENDABLE = Query("incidents.resendable", ResendableRef, Resendable, f"{_READERS}:find_resendable")
HELD_ALERTS = Query("incidents.held", Nothing, HeldAlerts, f"{_READERS}:held_alerts")
LIST_KEYS = Query("keys.list", ListKeys, Listed[PairLine], f"{_READERS}:list_keys")
SHOW_KEY = Query("keys.show", ShowKey, KeyReport, f"{_READERS}:show_key")
PENDING_KEYS = Query("keys.pending", PendingKeysRef, PendingDelivery, f"{_READERS}:pending_keys")
LIST_MESSAGES = Query("outbox.list", ListMessages, Listed[MessageLine], f"{_READERS}:list_messages")
LIST_WEBHOOKS = Query("webhooks.list", ListWebhooks, Listed[WebhookLine], f"{_READERS}:list_webhooks")
CHECK_IMPORT = Query(
    "keys.check-import",
    CheckImport,
    ImportOutput,
    "octy_worker.staff.key_imports:check_import",
    role=Role.KEY_ADMIN,
)
LIST_ORDERS = Query("orders.list", ListOrders, Listed[OrderLine], f"{_READERS}:list_orders")
FIND_ORDER = Query("orders.find", OrderRef, FoundOrder, f"{_READERS}:find_order")

_ALL: tuple[Query[Any, Any], ...] = (
    *(SEARCH, LIST_ACCOUNTS, SHOW_ACCOUNT, FIND_ACCOUNT),
    *(LIST_INCIDENTS, SHOW_INCIDENT, FIND_INCIDENT, FOLLOW_INCIDENT, UNANSWERED, FIND_RESENDABLE, HELD_ALERTS),
    *(LIST_KEYS, SHOW_KEY, PENDING_KEYS, CHECK_IMPORT, LIST_MESSAGES, LIST_WEBHOOKS, LIST_ORDERS, FIND_ORDER),
    *(LIST_STAFF, *AUDIT_QUERIES),
)
QUERIES: dict[str, Query[Any, Any]] = {query.name: query for query in _ALL}
"""All queries by name."""
