"""Amendments: support staff changes the answer of an incident, in one transaction, with its audit.

    open     regenerate → dismiss    the new keys are withdrawn, unless others wait for them or they were collected
    open     dismiss → regenerate    the incident is not closed; it continues as if the customer had answered so
    open     regenerate, leaked      the old key pair is retired at once
    closed   → regenerate            the quiet time ends; new keys are ordered, outside of the incident
    closed   unanswered → dismiss    is recorded

A reported leak can't be withdrawn. Keys that the customer has collected are not taken back: `regenerations.collect`
and an amendment are serialized, and the later one sees the earlier one's result. The incident's workflow is notified
through the outbox.
"""

from dataclasses import dataclass

from sqlmodel import Session, select

from octy_middleware.clock import utc
from octy_middleware.db.models import Incident, IncidentAnswer, IncidentEvent, KeyPair, Notice, Regeneration
from octy_middleware.domain import outbox, webhook_events
from octy_middleware.states import Answer, KeyPairCause, KeyPairState, RegenerationState, Resolution
from octy_worker.access.orders import Order
from octy_worker.domain import incidents, regenerations
from octy_worker.errors import RefusedError
from octy_worker.reports.queries import incident_of, open_incident_of
from octy_worker.staff.acts import NewAnswer
from octy_worker.staff.audit import record
from octy_worker.staff.context import StaffContext
from octy_worker.staff.outputs import AmendmentResult
from octy_workflows.order_content import Choice

ANSWERS: dict[str, Answer] = {Choice.REGENERATE: Answer.NOT_US, Choice.DISMISS: Answer.IT_WAS_US}
"""The answer that staff gives by a choice."""

_COLLECTED = (RegenerationState.COLLECTED, RegenerationState.DONE)


@dataclass(frozen=True, slots=True)
class Amendment:
    """The new answer, who gives it, and why. A repeat with the same `order_id` is refused."""

    answer: Answer
    leaked: bool
    actor: str
    reason: str
    order_id: str

    @property
    def choice(self) -> dict[str, str | bool]:
        """The new answer, as the audit log and the timeline record it."""
        return {"answer": str(self.answer), "leaked": self.leaked}


def amend(context: StaffContext, order: Order, fields: NewAnswer) -> AmendmentResult:
    """Change the answer and audit it. Raises RefusedError, and InvalidInputError for an unknown incident."""
    amendment = Amendment(ANSWERS[fields.answer], fields.leaked, order.actor, order.reason, order.order_id)
    with context.database.write_session() as session:
        context.use(session, order)
        amended = context.keep(session, order, amend_answer(session, order.subject, amendment, context.clock()))
    facts = {"incident": order.subject, "order_id": order.order_id}
    record("answer_amended", order.actor, reason=order.reason, **amendment.choice, **facts)
    return amended


def amend_answer(session: Session, incident_id: str, amendment: Amendment, now: float) -> AmendmentResult:
    """Change the answer of an incident. Raises RefusedError or InvalidInputError; then the caller rolls back."""
    incident = incident_of(session, incident_id)
    incident_answer = session.get_one(IncidentAnswer, incident_id)
    key = f"changed-{amendment.order_id}"
    if session.exec(select(IncidentEvent.seq).where(IncidentEvent.key == f"{incident_id}/{key}")).first():
        raise RefusedError("this change was made before; nothing was changed")
    _refuse(incident, incident_answer, amendment)
    before, leaked = incident_answer.answer, incident_answer.leaked or amendment.leaked
    incident_answer.answer, incident_answer.leaked = amendment.answer, leaked
    incident_answer.answered_at, incident_answer.answered_by = utc(now), amendment.actor
    incident_answer.decision_id = amendment.order_id
    session.flush()
    change = _in_open if incident.closed_at is None else _in_closed
    changed = change(session, incident, amendment, now)
    incidents.append_event(
        session,
        incident_id,
        key=key,
        actor=amendment.actor,
        what="answer_amended",
        detail={"was": before, **amendment.choice, "reason": amendment.reason},
        now=now,
    )
    webhook_events.enqueue_incident_answered(
        session.connection(), incident_id, now, answer=amendment.answer, leaked=leaked, by=amendment.actor
    )
    return changed


def _refuse(incident: Incident, incident_answer: IncidentAnswer, amendment: Amendment) -> None:
    """Raise RefusedError when the amendment is not allowed in the incident's state."""
    dismisses = amendment.answer is Answer.IT_WAS_US
    if incident.closed_at is None and incident_answer.answer is None:
        raise RefusedError(f"there is no answer to change → octy incidents decide {incident.id} … --reason …")
    if dismisses and (incident_answer.leaked or amendment.leaked):
        raise RefusedError("an incident with a leaked secret can't be dismissed")
    if incident_answer.answer == amendment.answer and (incident_answer.leaked or not amendment.leaked):
        raise RefusedError("this is the current answer already; nothing was changed")
    if incident.resolution == Resolution.REGENERATED:
        raise RefusedError(
            "the incident ended with new keys, which the customer has collected → for other keys: octy keys regenerate "
            "--account … --reason …"
        )


def _in_open(session: Session, incident: Incident, amendment: Amendment, now: float) -> AmendmentResult:
    """Notify the workflow first, before the end of the regeneration that it waits for; then retire or withdraw."""
    detail = {**amendment.choice, "by": amendment.actor, "order_id": amendment.order_id}
    outbox.enqueue(session.connection(), outbox.MessageKind.INCIDENT_CHANGED, incident.id, now, detail)
    if amendment.answer is Answer.IT_WAS_US:
        return AmendmentResult(closed=False, withdrawn=_withdraw(session, incident, now))
    if amendment.leaked:
        _retire_pair(session, incident, now)
    return AmendmentResult(closed=False)


def _in_closed(session: Session, incident: Incident, amendment: Amendment, now: float) -> AmendmentResult:
    if amendment.answer is Answer.IT_WAS_US:
        if incident.regeneration_id is not None:
            raise RefusedError(
                "new keys were ordered for this incident and it is closed, so its answer can't be changed"
            )
        return AmendmentResult(closed=True)
    pair = session.get_one(KeyPair, incident.key_pair_id)
    later = open_incident_of(session, pair.id)
    if later is not None:
        raise RefusedError(f"a later incident is open for this key pair → octy incidents decide {later} regenerate …")
    if pair.state == KeyPairState.RETIRED and pair.replaced_by is not None:
        raise RefusedError("the key pair was replaced since; there is nothing to replace")
    pair.quiet_until = None
    session.add(pair)
    if amendment.leaked:
        incidents.retire_leaked(session, pair.id, now)
    opened = regenerations.open_regeneration(
        session,
        incident.account_id,
        KeyPairCause.STAFF,
        old_pair_id=pair.id,
        leaked=amendment.leaked,
        actor=amendment.actor,
        reason=amendment.reason,
        now=now,
    )
    incident.regeneration_id = opened.regeneration_id
    session.add(incident)
    return AmendmentResult(closed=True, ordered=opened.regeneration_id)


def _retire_pair(session: Session, incident: Incident, now: float) -> None:
    """Retire the attacked key pair at once, whether or not the new one was collected."""
    incidents.retire_leaked(session, incident.key_pair_id, now)
    regeneration = session.get(Regeneration, incident.regeneration_id) if incident.regeneration_id else None
    if regeneration is not None and regeneration.finished_at is None:
        regeneration.leaked = True
        session.add(regeneration)


def _withdraw(session: Session, incident: Incident, now: float) -> str | None:
    """End the regeneration that only this incident needs; return its id. Raises RefusedError if it was collected.

    It ends as superseded: nothing is delivered, the old key pair stays valid, and its workflow is notified as usual.
    """
    regeneration = session.get(Regeneration, incident.regeneration_id) if incident.regeneration_id else None
    if regeneration is None or regeneration.state == RegenerationState.SUPERSEDED:
        return None
    if _needed_by_others(session, incident, regeneration):
        return None
    if regenerations.finish(session, regeneration.id, RegenerationState.SUPERSEDED, now) in _COLLECTED:
        raise RefusedError("too late, the customer has collected the new keys; the old key pair ends after its overlap")
    outbox.enqueue(session.connection(), outbox.MessageKind.REGENERATION_SUPERSEDED, regeneration.id, now)
    return regeneration.id


def _needed_by_others(session: Session, incident: Incident, regeneration: Regeneration) -> bool:
    """Return whether the keys are needed anyway: ordered otherwise, leaked, or for other incidents too."""
    if regeneration.cause != KeyPairCause.INCIDENT or regeneration.leaked:
        return True
    noticed = session.exec(select(Notice.id).where(Notice.regeneration_id == regeneration.id)).first()
    return noticed is not None or regenerations.waiting_incidents(session, regeneration.id) != [incident.id]
