"""Orders that their author has made and not yet signed; a passkey signs them in a browser, or `octy orders sign`.

The server keeps the bytes, so that what is signed is what it has shown. A row with a wrong code is not shown.
"""

from dataclasses import dataclass

from sqlalchemy import delete, insert
from sqlmodel import Session, col, select

from octy_middleware.clock import utc
from octy_middleware.db.models import StaffPendingOrder
from octy_worker.access.members import Members
from octy_worker.access.orders import FRESHNESS, Order
from octy_worker.access.roles import required_role
from octy_worker.access.row_macs import RowCodes, RowMacs
from octy_worker.crypto.sealed_box import Sealer
from octy_worker.crypto.ssh_certificates import RefusedSignatureError

MAX_PENDING = 50
"""Of one person at a time."""

_KEPT = 3600.0  # seconds after the end
_SEALED = ("id", "actor", "body", "private", "expires_at")


@dataclass(frozen=True, slots=True)
class PendingOrder:
    """An order that can be signed until `expires_at`. `private`: JSON of what it holds commitments to."""

    order: Order
    body: bytes
    private: str
    expires_at: float


class PendingOrders:
    """Keeps orders that are not yet signed, in the caller's transaction."""

    def __init__(self, installation: str, members: Members, macs: RowMacs, sealer: Sealer) -> None:
        self._installation = installation
        self._members = members
        self._codes = RowCodes(macs, "staff_pending_order", _SEALED)
        self._sealer = sealer

    def add(self, session: Session, body: bytes, *, actor: str, now: float, private: str = "") -> Order:
        """Keep an order of a person whose session is open. Raises RefusedSignatureError, and InvalidOrderError."""
        order = Order.from_bytes(body)
        if (order.installation, order.actor) != (self._installation, actor) or not order.is_fresh(now):
            raise RefusedSignatureError("the order is of another installation, person or time")
        self._members.require_active(session, actor, required_role(order.action, order.fields))
        session.connection().execute(
            delete(StaffPendingOrder).where(col(StaffPendingOrder.expires_at) < utc(now - _KEPT))
        )
        if len(self.of(session, actor, now)) >= MAX_PENDING:
            raise RefusedSignatureError(f"{actor} has {MAX_PENDING} orders to sign already")
        if session.get(StaffPendingOrder, order.order_id) is not None:
            raise RefusedSignatureError("another order has this id")
        row = StaffPendingOrder(
            id=order.order_id,
            actor=actor,
            body=body.decode(),
            private=self._sealer.seal(private, f"pending:{order.order_id}") if private else "",
            expires_at=utc(order.issued_at + FRESHNESS),
            mac="",
        )
        session.connection().execute(insert(StaffPendingOrder), {**row.model_dump(), "mac": self._codes.make(row)})
        return order

    def of(self, session: Session, actor: str, now: float) -> list[PendingOrder]:
        """Return the orders that this person can still sign, the oldest first."""
        query = select(StaffPendingOrder).where(StaffPendingOrder.actor == actor).order_by(col(StaffPendingOrder.id))
        return [self._describe(row) for row in session.exec(query).all() if self._counts(row, now)]

    def find(self, session: Session, order_id: str, *, actor: str, now: float) -> PendingOrder | None:
        """Return an order that this person can still sign, or None."""
        row = session.get(StaffPendingOrder, order_id)
        return self._describe(row) if row is not None and row.actor == actor and self._counts(row, now) else None

    @staticmethod
    def remove(session: Session, order_id: str, *, actor: str) -> bool:
        """Remove an order that was signed, or that its author does not want; return whether there was one."""
        there = col(StaffPendingOrder.id) == order_id, col(StaffPendingOrder.actor) == actor
        return session.connection().execute(delete(StaffPendingOrder).where(*there)).rowcount == 1

    def _counts(self, row: StaffPendingOrder, now: float) -> bool:
        return utc(now) <= row.expires_at and self._codes.is_right(row)

    def _describe(self, row: StaffPendingOrder) -> PendingOrder:
        body = row.body.encode()
        private = self._sealer.open(row.private, f"pending:{row.id}") if row.private else ""
        return PendingOrder(Order.from_bytes(body), body, private, row.expires_at.timestamp())
