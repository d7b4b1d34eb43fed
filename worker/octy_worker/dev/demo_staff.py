"""What staff has signed in a demo, and the audit log, read back: from the database and by `octy audit verify`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlmodel import col, select

from octy_middleware.db.database import Database
from octy_middleware.db.models import StaffFactor, StaffOrder
from octy_worker.access.order_states import OrderState
from octy_worker.access.orders import InvalidOrderError, Namespace, Order
from octy_worker.crypto.ssh_certificates import (
    CertificateAuthorities,
    RefusedSignatureError,
    Revocations,
    check_principal,
)
from octy_worker.crypto.ssh_signatures import verify_signature
from octy_worker.dev.demo_results import OpenedIncident
from octy_worker.dev.staff_member import run_octy

_MAX_LIFETIME = 8 * 3600 + 300.0  # seconds of the certificates that the stack issues, and their clock skew


@dataclass(frozen=True, slots=True)
class SignedOrder:
    """An order about the incident of one customer. `verified`: signature and certificate are right, and it was used."""

    user: str
    actor: str
    order: str
    certificate_serial: int
    factor: str
    verified: bool


@dataclass(frozen=True, slots=True)
class AuditFigures:
    """The number of entries, and whether `octy audit verify` found nothing wrong."""

    entries: int
    verified: bool


def signed_orders(database: Database, opened: Sequence[OpenedIncident], authority: str) -> tuple[SignedOrder, ...]:
    """Return the orders about these incidents, verified by the public key of the authority alone."""
    users = {incident.incident_id: incident.alert.user for incident in opened}
    with database.read_session() as session:
        orders = session.exec(
            select(StaffOrder).where(col(StaffOrder.subject).in_(users)).order_by(col(StaffOrder.received_at))
        ).all()
        kinds = dict(session.exec(select(StaffFactor.id, StaffFactor.kind)).all())
    authorities = CertificateAuthorities([authority], max_lifetime=_MAX_LIFETIME, revoked=Revocations())
    return tuple(_verified(row, users[row.subject], kinds.get(row.factor, row.factor), authorities) for row in orders)


def _verified(row: StaffOrder, user: str, factor: str, authorities: CertificateAuthorities) -> SignedOrder:
    serial, right = 0, False
    try:
        order = Order.from_bytes(row.body.encode())
        received_at = row.received_at.timestamp()
        signed = verify_signature(
            row.signature, row.body.encode(), namespace=Namespace.ORDER, authorities=authorities, now=received_at
        )
        check_principal(signed.certificate, order.actor)
        same = (order.order_id, order.subject, order.actor) == (row.id, row.subject, row.actor)
        serial, right = signed.certificate.serial, same and row.state == OrderState.USED
    except (RefusedSignatureError, InvalidOrderError):
        pass
    return SignedOrder(user, row.actor, row.id, serial, factor, right)


def audit_figures(environment: Mapping[str, str]) -> AuditFigures:
    """Run `octy audit verify`. Raises ProcessError when it finds something wrong."""
    found = json.loads(run_octy(("audit", "verify", "--json"), environment))
    return AuditFigures(int(found["entries"]), bool(found["ok"]))
