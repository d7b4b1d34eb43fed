"""`python -m proofs.load.order_verification`: how long an order takes to be verified.

Milliseconds of this process's CPU time of the verification alone (canonical form, certificate, signature, role), and of
the whole receipt in a database, with its row and its audit entry. 5 ms is the limit of the verification. The control is
two bare Ed25519 verifications, which a certified signature has at least.
"""

import sys
import time
from dataclasses import replace

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from support.ssh_keys import SoftToken
from support.staff_rig import StaffKeys, StaffRig
from support.world import INSTALLATION, World

from octy_middleware.clock import uuid7
from octy_worker.access.orders import Namespace, Order
from octy_worker.access.proofs import Evidence, OrderProofs
from octy_worker.access.receipts import OrderReceipts
from octy_worker.access.roles import Action, required_role
from octy_worker.crypto.ssh_certificates import check_principal
from octy_worker.crypto.ssh_signatures import verify_signature
from proofs.load.databases import proof_parser, run_proof
from proofs.load.report import Report

LIMIT = 5.0
"""Milliseconds."""


def make_orders(keys: StaffKeys, count: int, now: float) -> list[tuple[bytes, Evidence]]:
    """Return orders of a security key that verified its user."""
    token = SoftToken()
    certificate = token.certificate(keys.authority, after=int(now) - 60, before=int(now) + 3600)
    order = Order(
        uuid7(now), INSTALLATION, Action.DECIDE, uuid7(now), {"decision": "dismiss", "leaked": False}, "by phone",
        "ada", int(now),
    )  # fmt: skip
    bodies = [replace(order, order_id=uuid7(now)).to_bytes() for _ in range(count)]
    return [(body, Evidence(token.sign(certificate, body), source="192.0.2.7")) for body in bodies]


def measure(world: World, orders: int, limit: float = LIMIT) -> Report:
    report, now, keys = Report(f"{world.database_kind}, {orders} orders"), time.time(), StaffKeys.make(world.folder)
    rig, made, authorities = StaffRig(world, keys, now), make_orders(keys, orders, now), keys.authorities()
    receipts = OrderReceipts(INSTALLATION, OrderProofs(authorities, rig.members, rig.macs))

    def milliseconds(what: str, begun: float) -> float:
        taken = 1000 * (time.process_time() - begun) / orders
        report.figure(f"{what}, ms of CPU an order", f"{taken:.2f}")
        return taken

    begun = time.process_time()
    with world.database.read_session() as session:
        for body, evidence in made:
            order = Order.from_bytes(body)
            signed = verify_signature(
                evidence.signature, body, namespace=Namespace.ORDER, authorities=authorities, now=now
            )
            check_principal(signed.certificate, order.actor)
            rig.members.require_active(session, order.actor, required_role(order.action, order.fields))
    report.expect(milliseconds("verified", begun) <= limit, f"the verification takes more than {limit:g} ms")

    begun = time.process_time()
    for body, evidence in made:
        with world.database.write_session() as session:
            receipts.receive(session, body, evidence, now)
    milliseconds("received", begun)

    key = Ed25519PrivateKey.generate()
    public, signature = key.public_key(), key.sign(b"m" * 400)
    begun = time.process_time()
    for _ in range(2 * orders):
        public.verify(signature, b"m" * 400)
    milliseconds("two bare Ed25519 verifications", begun)
    return report


def main() -> int:
    parser = proof_parser(__doc__)
    parser.add_argument("--orders", type=int, default=500)
    return run_proof("order_verification", parser, measure)


if __name__ == "__main__":
    sys.exit(main())
