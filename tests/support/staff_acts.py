"""An act for tests of how orders are signed: it uses its order, and changes nothing else."""

from dataclasses import dataclass

from octy_worker.access.orders import Order
from octy_worker.access.roles import Action
from octy_worker.staff.context import StaffContext
from octy_worker.staff.operations import Act, Fields


@dataclass(frozen=True, slots=True)
class Note(Fields):
    """Fields of the act."""

    text: str


@dataclass(frozen=True, slots=True)
class Noted:
    """Output of the act."""

    noted_text: str


def note(context: StaffContext, order: Order, fields: Note) -> Noted:
    with context.database.write_session() as session:
        context.receipts.use(
            session, order.order_id, order.action, order.subject, by=order.order_id, now=context.clock()
        )
        return context.keep(session, order, Noted(fields.text))


NOTE = Act(Action.RETRY_OUTBOX, Note, Noted, f"{__name__}:note")
