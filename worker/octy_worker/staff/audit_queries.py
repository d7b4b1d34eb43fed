"""What staff can read of the audit log: its entries, the proof that it is whole, the public keys that verify it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from octy_worker.access.roles import Role
from octy_worker.audit.log_verification import LogReport
from octy_worker.reports.models import AuditLine
from octy_worker.staff.operations import Listed, Nothing, Query

_READERS = "octy_worker.staff.audit_readers"


@dataclass(frozen=True, slots=True)
class ListAudit:
    """Which entries; empty texts let all through. An `action` that ends with a point is a prefix."""

    subject: str = ""
    actor: str = ""
    action: str = ""
    since: datetime | None = None
    limit: int | None = 200
    offset: int = 0


@dataclass(frozen=True, slots=True)
class VerifyAudit:
    """`checkpoints`: lines of system logs. `keys`: public keys by id; None: those of the installation."""

    checkpoints: tuple[str, ...] = ()
    keys: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class AuditKeys:
    """Public keys (Ed25519, Base64) by id; empty: OCTY_AUDIT_KEYS is not set."""

    keys: Mapping[str, str]


LIST_AUDIT = Query("audit.list", ListAudit, Listed[AuditLine], f"{_READERS}:list_entries", Role.ADMIN)
VERIFY_AUDIT = Query("audit.verify", VerifyAudit, LogReport, f"{_READERS}:verify", Role.ADMIN)
AUDIT_KEYS = Query("audit.keys", Nothing, AuditKeys, f"{_READERS}:public_keys")
AUDIT_QUERIES: tuple[Query[Any, Any], ...] = (LIST_AUDIT, VERIFY_AUDIT, AUDIT_KEYS)
"""All of them."""
