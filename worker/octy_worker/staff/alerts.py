"""Support staff releases alerts that are held because many accounts are affected at once."""

from octy_worker.access.orders import Order
from octy_worker.errors import RefusedError
from octy_worker.mail.alert_hold import release_hold
from octy_worker.staff.audit import record
from octy_worker.staff.context import StaffContext
from octy_worker.staff.operations import NoFields
from octy_worker.staff.outputs import ReleasedHold


def release_alerts(context: StaffContext, order: Order, _fields: NoFields) -> ReleasedHold:
    """End the hold. Raises RefusedError when alerts are not held."""
    with context.database.write_session() as session:
        context.use(session, order)
        hold = release_hold(session, actor=order.actor, reason=order.reason, now=context.clock())
        if hold is None:
            raise RefusedError("alerts are not held")
        released = context.keep(session, order, ReleasedHold(hold.id, order.actor, hold.released_at))
    record("alerts_released", order.actor, reason=order.reason, hold=released.id)
    return released
