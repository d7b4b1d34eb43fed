"""An answer that stands, changed by support staff: what follows in SQL, as one transaction.

Here: which changes there are, and what each undoes or begins. Not here: the first answer (`cases.answer_case`), the
`octy` command and its audit (`cli.changing`), the case's workflow, which hears of a change by the outbox.

    open     regenerate → dismiss    the new keys are withdrawn, unless others wait for them or they were collected
    open     dismiss → regenerate    the case does not close, and goes on as if the customer had said so
    open     regenerate, it leaked   the old pair is cut at once
    closed   → regenerate            the quiet time ends; new keys are ordered, outside of the case
    closed   unanswered → dismiss    is written down

A leak that was reported can't be denied. What the customer has collected is not taken back: `regenerations.collect`
and this write one after the other, and the later one finds what the other did.
"""

from dataclasses import dataclass

from sqlalchemy import update
from sqlmodel import Session, col, select

from octy_middleware.clock import utc
from octy_middleware.db.database import Database
from octy_middleware.db.models import Incident, IncidentAnswer, IncidentEvent, KeyPair, Notice, Regeneration
from octy_middleware.domain import outbox, webhook_events
from octy_middleware.states import Answer, KeyPairCause, KeyPairState, RegenerationState, Resolution
from octy_worker.domain import incidents, regenerations
from octy_worker.errors import OrderRefusedError
from octy_worker.reports.queries import open_incident_of
from octy_workflows.staff_requests import Choice, StaffDecision


@dataclass(frozen=True, slots=True)
class Amendment:
    """What staff wants the answer to be, who, and why. A repeat of `change_id` is harmless."""

    answer: Answer
    leaked: bool
    actor: str
    reason: str
    change_id: str

    def fault(self) -> str | None:
        """Return why this can't be kept, or None: the same rules as for decisions."""
        fault = StaffDecision(Choice.DISMISS, self.actor, self.reason, decision_id=self.change_id).fault()
        return fault and fault.replace("decision_id", "change_id")


@dataclass(frozen=True, slots=True)
class AmendmentResult:
    """What a change did. `repeated`: an earlier call did it; `ordered` and `withdrawn` are regenerations."""

    closed: bool
    repeated: bool = False
    withdrawn: str | None = None
    ordered: str | None = None


def amend_answer(database: Database, incident_id: str, change: Amendment, now: float) -> AmendmentResult:
    """Amendment the answer of a case that exists. Raises OrderRefusedError; then nothing was done."""
    fault = change.fault()
    if fault is not None:
        raise OrderRefusedError(fault)
    with database.write_session() as session:
        incident = session.get_one(Incident, incident_id)
        incident_answer = session.get_one(IncidentAnswer, incident_id)
        closed = incident.closed_at is not None
        key = f"changed-{change.change_id}"
        if session.exec(select(IncidentEvent.seq).where(IncidentEvent.key == f"{incident_id}/{key}")).first():
            return AmendmentResult(closed, repeated=True)
        _refuse(incident, incident_answer, change)
        before = incident_answer.answer
        _write(session, incident_answer, change, now)
        changed = _in_closed(session, incident, change, now) if closed else _in_open(session, incident, change, now)
        detail = {"was": before, "answer": str(change.answer), "leaked": change.leaked, "reason": change.reason}
        incidents.append_event(
            session.connection(),
            incident_id,
            key=key,
            actor=change.actor,
            what="answer_changed",
            detail=detail,
            now=now,
        )
        leaked = incident_answer.leaked or change.leaked
        webhook_events.enqueue_incident_answered(
            session.connection(), incident_id, now, answer=change.answer, leaked=leaked, by=change.actor
        )
        return changed


def _refuse(incident: Incident, incident_answer: IncidentAnswer, change: Amendment) -> None:
    """Raise what is wrong with a change, whatever else is going on."""
    dismisses = change.answer is Answer.IT_WAS_US
    if incident.closed_at is None and incident_answer.answer is None:
        raise OrderRefusedError(f"no answer stands → octy incidents decide {incident.id} … --reason …")
    if dismisses and (incident_answer.leaked or change.leaked):
        raise OrderRefusedError("a case whose secret leaked can't be dismissed")
    if incident_answer.answer == change.answer and (incident_answer.leaked or not change.leaked):
        raise OrderRefusedError("this answer stands already; nothing would change")
    if incident.resolution == Resolution.REGENERATED:
        raise OrderRefusedError(
            "the case ended with new keys in the customer's hands → for others: octy keys regenerate --account … "
            "--reason …"
        )


def _write(session: Session, incident_answer: IncidentAnswer, change: Amendment, now: float) -> None:
    """Let the new answer stand, if the one that was looked at still does."""
    same = (
        col(IncidentAnswer.answer).is_(None)
        if incident_answer.answer is None
        else col(IncidentAnswer.answer).is_not(None)
    )
    written = session.connection().execute(
        update(IncidentAnswer)
        .where(
            col(IncidentAnswer.incident_id) == incident_answer.incident_id,
            col(IncidentAnswer.decision_id) == incident_answer.decision_id,
            same,
        )
        .values(
            answer=change.answer,
            leaked=incident_answer.leaked or change.leaked,
            answered_at=utc(now),
            answered_by=change.actor,
            decision_id=change.change_id,
        )
    )
    if written.rowcount != 1:
        raise OrderRefusedError("somebody else has just answered → octy incidents show tells what stands")


def _in_open(session: Session, incident: Incident, change: Amendment, now: float) -> AmendmentResult:
    """Tell the workflow before it can hear of the end of what it waits for, then cut or withdraw."""
    detail = {
        "answer": str(change.answer),
        "leaked": change.leaked,
        "by": change.actor,
        "change_id": change.change_id,
    }
    outbox.enqueue(session.connection(), outbox.MessageKind.INCIDENT_CHANGED, incident.id, now, detail)
    if change.answer is Answer.IT_WAS_US:
        return AmendmentResult(closed=False, withdrawn=_withdraw(session, incident, now))
    if change.leaked:
        _cut(session, incident, now)
    return AmendmentResult(closed=False)


def _in_closed(session: Session, incident: Incident, change: Amendment, now: float) -> AmendmentResult:
    if change.answer is Answer.IT_WAS_US:
        if incident.regeneration_id is not None:
            raise OrderRefusedError("new keys were ordered because of this case, and it is closed: that stands")
        return AmendmentResult(closed=True)
    pair = session.get_one(KeyPair, incident.key_pair_id)
    later = open_incident_of(session, pair.id)
    if later is not None:
        raise OrderRefusedError(f"a later case is open on this pair → octy incidents decide {later} regenerate …")
    if pair.state == KeyPairState.RETIRED and pair.replaced_by is not None:
        raise OrderRefusedError("the pair was replaced since; nothing is left to replace")
    pair.quiet_until = None
    session.add(pair)
    if change.leaked:
        incidents.retire_leaked(session, pair.id, now)
    opened = regenerations.open_regeneration(
        session,
        incident.account_id,
        KeyPairCause.STAFF,
        old_pair_id=pair.id,
        leaked=change.leaked,
        actor=change.actor,
        reason=change.reason,
        now=now,
    )
    incident.regeneration_id = opened.regeneration_id
    session.add(incident)
    return AmendmentResult(closed=True, ordered=opened.regeneration_id)


def _cut(session: Session, incident: Incident, now: float) -> None:
    """Cut the attacked pair at once, also where its successor waits or was collected."""
    incidents.retire_leaked(session, incident.key_pair_id, now)
    regeneration = session.get(Regeneration, incident.regeneration_id) if incident.regeneration_id else None
    if regeneration is not None and regeneration.finished_at is None:
        regeneration.leaked = True
        session.add(regeneration)


def _withdraw(session: Session, incident: Incident, now: float) -> str | None:
    """End the delivery that only this case wanted; return its id. Raises when the customer was faster.

    It ends as superseded: nothing is delivered, the old pair works on, and its workflow hears of it as of any other.
    """
    regeneration = session.get(Regeneration, incident.regeneration_id) if incident.regeneration_id else None
    if regeneration is None or regeneration.state == RegenerationState.SUPERSEDED:
        return None
    if _others_wait(session, incident, regeneration):
        return None
    connection = session.connection()
    if regenerations.finish(connection, regeneration.id, RegenerationState.SUPERSEDED, now) in _COLLECTED:
        raise OrderRefusedError("too late, the customer has collected the new keys; the old pair ends as told")
    outbox.enqueue(connection, outbox.MessageKind.REGENERATION_SUPERSEDED, regeneration.id, now)
    return regeneration.id


_COLLECTED = (RegenerationState.COLLECTED, RegenerationState.DONE)


def _others_wait(session: Session, incident: Incident, regeneration: Regeneration) -> bool:
    """Tell whether the keys are wanted whatever this case says: ordered otherwise, leaked, or for other cases too."""
    if regeneration.cause != KeyPairCause.INCIDENT or regeneration.leaked:
        return True
    noticed = session.exec(select(Notice.id).where(Notice.regeneration_id == regeneration.id)).first()
    return noticed is not None or regenerations.waiting_incidents(session.connection(), regeneration.id) != [
        incident.id
    ]
