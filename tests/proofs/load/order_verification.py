"""How long an order takes to be verified: milliseconds of this process's CPU time.

`PYTHONPATH=tests python -m proofs.load.order_verification` prints what the verification alone takes (canonical form,
certificate, signature, role), and what the whole receipt takes in a database, with its row and its audit entry. 5 ms is
the limit of the verification. The control is two bare Ed25519 verifications, which a certified signature has at least.
"""

import argparse
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from support.databases import DATABASES
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


def measure(world: World, keys: StaffKeys, count: int) -> tuple[float, float, float]:
    """Return milliseconds of CPU time an order: verified, received, and the control."""
    now = time.time()
    rig, orders, authorities = StaffRig(world, keys, now), make_orders(keys, count, now), keys.authorities()
    receipts = OrderReceipts(INSTALLATION, OrderProofs(authorities, rig.members, rig.macs))

    begun = time.process_time()
    with world.database.read_session() as session:
        for body, evidence in orders:
            order = Order.from_bytes(body)
            signed = verify_signature(
                evidence.signature, body, namespace=Namespace.ORDER, authorities=authorities, now=now
            )
            check_principal(signed.certificate, order.actor)
            rig.members.require_active(session, order.actor, required_role(order.action, order.fields))
    verified = time.process_time() - begun

    begun = time.process_time()
    for body, evidence in orders:
        with world.database.write_session() as session:
            receipts.receive(session, body, evidence, now)
    received = time.process_time() - begun

    key = Ed25519PrivateKey.generate()
    public, signature = key.public_key(), key.sign(b"m" * 400)
    begun = time.process_time()
    for _ in range(2 * count):
        public.verify(signature, b"m" * 400)
    control = time.process_time() - begun
    return tuple(1000 * seconds / count for seconds in (verified, received, control))  # type: ignore[return-value]


def main() -> int:
    """Measure, print, and return 1 when the verification takes longer than the limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, default=500)
    count, failed = parser.parse_args().orders, False
    for kind in DATABASES:
        with tempfile.TemporaryDirectory() as folder:
            world = World(Path(folder), kind)
            verified, received, control = measure(world, StaffKeys.make(Path(folder)), count)
            world.close()
        failed |= verified > LIMIT
        sys.stdout.write(
            f"{kind}: verified in {verified:.2f} ms, received in {received:.2f} ms; limit {LIMIT:g} ms; "
            f"two bare Ed25519 verifications: {control:.2f} ms\n"
        )
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
