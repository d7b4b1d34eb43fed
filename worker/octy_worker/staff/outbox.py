"""Support staff retries dead letters."""

from octy_worker.access.orders import Order
from octy_worker.outbox.dead_letters import retry_dead_letters
from octy_worker.staff.acts import Messages
from octy_worker.staff.audit import record
from octy_worker.staff.context import StaffContext
from octy_worker.staff.outputs import RetriedMessages


def retry_messages(context: StaffContext, order: Order, fields: Messages) -> RetriedMessages:
    """Retry these dead letters, or with None all; return their ids. If one is no dead letter, none is retried."""
    with context.database.write_session() as session:
        context.use(session, order)
        ids = tuple(retry_dead_letters(session, fields.ids, actor=order.actor, reason=order.reason))
        retried = context.keep(session, order, RetriedMessages(ids))
    if ids:
        record("messages_retried", order.actor, reason=order.reason, messages=", ".join(map(str, ids)))
    return retried
