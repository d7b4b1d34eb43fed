"""PURE. Orders to workflows: messages carry an order's id alone; this is the content that its workflow then reads."""

from typing import Any

from octy_worker.access.orders import Order
from octy_worker.access.roles import Action
from octy_workflows.messages import StaffAction

ACTIONS = {
    StaffAction.DECIDE: Action.DECIDE,
    StaffAction.EXTEND: Action.EXTEND,
    StaffAction.RESEND: Action.RESEND,
    StaffAction.RESEND_KEYS: Action.RESEND_KEYS,
}
"""The action of the order that a workflow asks for."""


def request_of(order: Order, id_field: str) -> dict[str, Any]:
    """Return an order in the form that workflows read; `id_field`: the name that they have for its id."""
    return {**order.fields, "actor": order.actor, "reason": order.reason, id_field: order.order_id}
