"""An act for tests of how orders are signed: it uses its order and changes nothing else; such runners of other acts."""

from collections.abc import Callable
from dataclasses import dataclass

from sqlmodel import Session

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
        _use(context, session, order)
        return context.keep(session, order, Noted(fields.text))


def answering(output: object) -> Callable[[StaffContext, Order, Fields], object]:
    """Return what runs an act as if its workflow answered so."""

    def run(context: StaffContext, order: Order, _fields: Fields) -> object:
        with context.database.write_session() as session:
            _use(context, session, order)
        return output

    return run


def _use(context: StaffContext, session: Session, order: Order) -> None:
    context.receipts.use(session, order.order_id, order.action, order.subject, by=order.order_id, now=context.clock())


NOTE = Act(Action.RETRY_OUTBOX, Note, Noted, f"{__name__}:note")
