"""PURE. An order in words, and its parameters as names and values, for people who are to sign it."""

import json
from collections.abc import Mapping

from octy_worker.access.orders import InvalidOrderError, Order
from octy_worker.access.roles import Action
from octy_worker.canonical_json import JsonValue

_SENTENCES: Mapping[Action, str] = {
    Action.DECIDE: "Decide incident {subject}",
    Action.DECIDE_MANY: "Decide many incidents",
    Action.EXTEND: "Extend the deadlines of incident {subject}",
    Action.RESEND: "Send a mail about incident {subject} again",
    Action.AMEND: "Change the answer to incident {subject}",
    Action.RELEASE_ALERTS: "Send held alerts",
    Action.RETRY_OUTBOX: "Deliver failed messages again",
    Action.RETRY_WEBHOOKS: "Deliver failed webhooks again",
    Action.TEST_WEBHOOK: "Send a test webhook to {subject}",
    Action.RESEND_KEYS: "Send the link to new keys again ({subject})",
    Action.REGENERATE: "Replace the keys of {subject}",
    Action.REVOKE: "Revoke the key pair {subject}",
    Action.IMPORT: "Import customers with their keys",
    Action.ADD_ACCOUNT: "Add the account {subject}",
    Action.CHANGE_ACCOUNT: "Change the account {subject}",
    Action.ERASE_ACCOUNT: "Erase the account {subject} for good",
    Action.SHOW_WEBHOOK_SECRET: "Show the webhook secret of {subject}",
    Action.ROTATE_WEBHOOK_SECRET: "Replace the webhook secret of {subject}",
    Action.APPROVE: "Approve the order {subject} of a colleague",
    Action.ACKNOWLEDGE: "Acknowledge the order {subject}, which was made by break glass",
    Action.ADD_STAFF: "Add the staff member {subject}",
    Action.CHANGE_ROLE: "Change the role of {subject}",
    Action.DISABLE_STAFF: "Disable {subject}",
    Action.RESET_FACTOR: "Reset the second factor of {subject}",
    Action.EXPORT_AUDIT: "Export the audit log",
}


def sentence(order: Order) -> str:
    """Return what is ordered, as a sentence without a full stop."""
    return _SENTENCES[order.action].replace("{subject}", order.subject).strip()


def order_facts(order: Order, private: Mapping[str, JsonValue]) -> list[tuple[str, str]]:
    """Return all that an order says, with the values of its private fields in place of their commitments."""
    values = {**order.fields, **private}
    return [
        *((f"Field {name}", value_text(value)) for name, value in sorted(values.items())),
        ("Reason", order.reason),
        ("Action", str(order.action)),
        ("Subject", order.subject),
        ("By", order.actor),
        ("Order", order.order_id),
    ]


def approved_facts(approval: Order, body: str | None) -> list[tuple[str, str]]:
    """Return all that the order says which an approval is about; `body`: its canonical bytes, None without one.

    Raises InvalidOrderError when it is not the one whose digest the approval has.
    """
    order = Order.from_bytes((body or "").encode())
    if (order.order_id, order.digest()) != (approval.subject, approval.fields.get("digest")):
        raise InvalidOrderError("the approval is about another order than the one of its id")
    facts = [(f"Its {name[0].lower()}{name[1:]}", value) for name, value in order_facts(order, {})]
    return [("What is approved", sentence(order)), *facts]


def value_text(value: object) -> str:
    """Return a JSON value as people read it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
