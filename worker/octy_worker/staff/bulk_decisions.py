"""One decision for many incidents: which ones, and the result of each."""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime

from sqlmodel import Session, col, select

from octy_middleware.db.models import Incident, IncidentAnswer
from octy_middleware.errors import InvalidInputError
from octy_worker.access.orders import Order
from octy_worker.access.receipts import Receipt
from octy_worker.crypto.ssh_certificates import RefusedSignatureError
from octy_worker.errors import RefusedError, UnavailableError
from octy_worker.mail.alert_grouping import is_unanswered
from octy_worker.staff.acts import DECIDE, BulkDecision
from octy_worker.staff.context import StaffContext
from octy_worker.staff.orders import carry_out
from octy_worker.staff.outputs import BulkResult, DecisionResult, DecisionStatus


def open_since(session: Session, since: datetime) -> tuple[str, ...]:
    """Return the open, unanswered incidents that were opened since then, oldest first."""
    found = (
        select(Incident.id)
        .join(IncidentAnswer, col(IncidentAnswer.incident_id) == Incident.id)
        .where(is_unanswered(), col(Incident.opened_at) >= since)
        .order_by(col(Incident.opened_at), col(Incident.id))
    )
    return tuple(session.exec(found))


def decide_many(context: StaffContext, order: Order, fields: BulkDecision) -> BulkResult:
    """Decide one after the other, each by its part of the order. A repeat decides no incident twice."""
    results: list[DecisionResult] = []
    with context.database.write_session() as session:  # a repeat has the same name, so it finds its own mark
        context.receipts.use(session, order.order_id, order.action, "", by=order.order_id, now=context.clock())

    def decide(incident_id: str) -> None:
        try:
            with context.database.write_session() as session:
                part = context.receipts.add_part(session, order.order_id, incident_id, context.clock())
            carry_out(context, DECIDE, Receipt(part))
        except (RefusedSignatureError, InvalidInputError) as error:
            raise RefusedError(str(error)) from None

    for result in decide_each(fields.incidents, decide):
        results.append(result)
        context.on_progress(result)
    return BulkResult(tuple(results))


def decide_each(incident_ids: Iterable[str], decide: Callable[[str], None]) -> Iterator[DecisionResult]:
    """Decide one after the other. A refusal does not stop the others; an unavailable service stops them."""
    stopped = ""
    for incident_id in dict.fromkeys(incident_ids):
        if stopped:
            yield DecisionResult(incident_id, DecisionStatus.NOT_TRIED, stopped)
            continue
        try:
            decide(incident_id)
        except RefusedError as error:
            yield DecisionResult(incident_id, DecisionStatus.REFUSED, str(error))
        except UnavailableError as error:
            stopped = str(error)
            yield DecisionResult(incident_id, DecisionStatus.UNAVAILABLE, stopped)
        else:
            yield DecisionResult(incident_id, DecisionStatus.DECIDED)
