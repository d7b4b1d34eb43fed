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


def content_of(order: Order) -> dict[str, Any]:
    """Return an order in the form that workflows read."""
    return {**order.fields, "actor": order.actor, "reason": order.reason, "order_id": order.order_id}
