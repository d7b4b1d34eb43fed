"""PURE. The states of an order in SQL, and the error for one that can't be used."""

from enum import StrEnum

from octy_worker.crypto.ssh_certificates import RefusedSignatureError
from octy_workflows.messages import RefusalReason

BREAK_GLASS = "break-glass"
"""In place of signature and second factor: the row's code, which only a host with OCTY_STAFF_KEYS can make."""

RECEIVED, USED, REFUSED = "order.received", "order.used", "order.refused"
"""Actions of audit entries about an order."""
ORDER_TTL = 24 * 3600.0
"""Seconds in which a received order can be used, and in which one that waits can be approved."""


class OrderState(StrEnum):
    """State of an order; values of its `state` column."""

    WAITING = "waiting"  # for a second person's approval
    RECEIVED = "received"
    USED = "used"
    REFUSED = "refused"


class UnusableOrderError(RefusedSignatureError):
    """An order that can't be used; `reason` says which rule it breaks, for metrics."""

    def __init__(self, text: str, reason: RefusalReason) -> None:
        super().__init__(text)
        self.reason = reason
