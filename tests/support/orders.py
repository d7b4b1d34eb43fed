"""Staff orders in a world's database, received without a proof, as where OCTY_STAFF_AUTH is off. No tests here."""

from dataclasses import asdict

from octy_middleware.clock import uuid7
from octy_worker.access.orders import Order
from octy_worker.access.proofs import NoProofs, Unproven
from octy_worker.access.receipts import OrderReceipts
from octy_worker.access.roles import Action
from octy_worker.domain.staff_orders import ACTIONS
from octy_workflows.messages import StaffAction
from octy_workflows.order_content import OrderContent
from support.world import World


def receipts_of(world: World) -> OrderReceipts:
    return OrderReceipts(world.installation, NoProofs())


def order_of(world: World, action: StaffAction, subject: str, said: OrderContent, now: float) -> Order:
    """Return a received order with this content; one without an id gets one."""
    fields = {name: value for name, value in asdict(said).items() if name not in {"actor", "reason", "order_id"}}
    order_id = said.order_id or uuid7(now)
    return Order(order_id, world.installation, ACTIONS[action], subject, fields, said.reason, said.actor, int(now))


def receive_order(world: World, action: StaffAction, subject: str, said: OrderContent, now: float) -> str:
    """Have an order received, and return its id."""
    order = order_of(world, action, subject, said, now)
    with world.database.write_session() as session:
        receipts_of(world).receive(session, order.to_bytes(), Unproven(), now)
    return order.order_id


def use_order(world: World, order_id: str, action: Action, subject: str, *, by: str, now: float) -> Order:
    """Mark an order as used, as its workflow does."""
    with world.database.write_session() as session:
        return receipts_of(world).use(session, order_id, action, subject, by=by, now=now)
