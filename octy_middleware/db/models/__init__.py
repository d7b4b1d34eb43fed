"""The tables, shared by the middleware and the worker.

The names of states are in `octy_middleware.states`. Each table's rows are changed by the module of its aggregate only.

Ids are UUIDv7 as text. The feeds (`key_change`, `attempt`, `outbox`) have ascending numbers instead, because they are
read in order. Times are UTC, stored as whole microseconds since 1970, which is the same on both databases and without
a driver's time zone; Python gets aware datetimes (`octy_middleware.db.columns`).
"""

from octy_middleware.db.columns import Table
from octy_middleware.db.models.accounts import Account, KeyChange, KeyPair
from octy_middleware.db.models.audit import AuditCheckpoint, AuditEntry
from octy_middleware.db.models.incidents import Incident, IncidentAnswer, IncidentEvent
from octy_middleware.db.models.maintenance import InstallationRow, Job, KeyCheck, WriteLock
from octy_middleware.db.models.messages import AlertHold, Mail, Notice, Outbox, Webhook
from octy_middleware.db.models.recording import AppProcess, Attempt, IncidentCount, OutcomeMinute, Streak
from octy_middleware.db.models.regenerations import Regeneration, SealedSecret
from octy_middleware.db.models.staff import Staff, StaffAuthority, StaffFactor, StaffOrder, StaffSession
from octy_middleware.db.models.staff_browser import StaffBrowserLogin, StaffEnrolment, StaffPendingOrder

__all__ = [
    "METADATA",
    "Account",
    "AlertHold",
    "AppProcess",
    "Attempt",
    "AuditCheckpoint",
    "AuditEntry",
    "Incident",
    "IncidentAnswer",
    "IncidentCount",
    "IncidentEvent",
    "InstallationRow",
    "Job",
    "KeyChange",
    "KeyCheck",
    "KeyPair",
    "Mail",
    "Notice",
    "Outbox",
    "OutcomeMinute",
    "Regeneration",
    "SealedSecret",
    "Staff",
    "StaffAuthority",
    "StaffBrowserLogin",
    "StaffEnrolment",
    "StaffFactor",
    "StaffOrder",
    "StaffPendingOrder",
    "StaffSession",
    "Streak",
    "Webhook",
    "WriteLock",
]

METADATA = Table.metadata
"""All tables: importing this package has registered them."""
