"""Everything that staff can read: names, inputs, outputs. The readers are in `readers`."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from octy_worker.reports.key_delivery import PendingDelivery
from octy_worker.reports.models import IncidentLine
from octy_worker.staff.audit_queries import AUDIT_QUERIES
from octy_worker.staff.member_operations import LIST_STAFF
from octy_worker.staff.operations import Listed, Query

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
    """Which mail of an incident is to be sent again: its kind; None: the last one."""

    incident: str
    kind: str | None = None


@dataclass(frozen=True, slots=True)
class Resendable:
    """Whose workflow sends it again: a regeneration's if there is one, else the incident's."""

    incident_id: str
    regeneration_id: str | None


@dataclass(frozen=True, slots=True)
class AccountRef:
    """An account's reference or id."""

    account: str


@dataclass(frozen=True, slots=True)
class OrderId:
    """The id of an order."""

    order_id: str


@dataclass(frozen=True, slots=True)
class FoundOrder:
    """An order's canonical bytes; None: there is none of this id."""

    body: str | None


LIST_INCIDENTS = Query("incidents.list", ListIncidents, Listed[IncidentLine], f"{_READERS}:list_incidents")

FIND_INCIDENT = Query("incidents.find", IncidentRef, IncidentKey, f"{_READERS}:find_incident")
UNANSWERED = Query("incidents.unanswered", UnansweredSince, IncidentKeys, f"{_READERS}:unanswered")
FIND_RESENDABLE = Query("incidents.resendable", ResendableRef, Resendable, f"{_READERS}:find_resendable")
PENDING_KEYS = Query("keys.pending", AccountRef, PendingDelivery, f"{_READERS}:pending_keys")
FIND_ORDER = Query("orders.find", OrderId, FoundOrder, f"{_READERS}:find_order")

_ALL: tuple[Query[Any, Any], ...] = (
    LIST_INCIDENTS,
    FIND_INCIDENT,
    UNANSWERED,
    FIND_RESENDABLE,
    PENDING_KEYS,
    LIST_STAFF,
    FIND_ORDER,
    *AUDIT_QUERIES,
)
QUERIES: dict[str, Query[Any, Any]] = {query.name: query for query in _ALL}
"""All queries by name."""
