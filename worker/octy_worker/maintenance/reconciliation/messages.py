"""Messages that have a workflow started again, or repeat the current state to one that runs; SQL.

They replace dead letters. A page of subjects may be outdated: each message is put in a transaction that reads again.
"""

from sqlalchemy import Connection, update
from sqlmodel import Session, col, select

from octy_middleware.clock import utc
from octy_middleware.db.database import Database
from octy_middleware.db.models import Incident, IncidentAnswer, IncidentEvent, Outbox, Regeneration, Webhook
from octy_middleware.domain import outbox
from octy_middleware.domain.outbox import MAX_DELIVERY_ATTEMPTS, MessageKind
from octy_middleware.states import RegenerationState, WebhookState
from octy_worker.maintenance.reconciliation.subjects import REPEATABLE, Subject, is_dead_letter, unfinished_notices

_DONE = RegenerationState.DONE
_Message = tuple[MessageKind, dict[str, object]]


def restart(database: Database, kind: Subject, subject_id: str, now: float) -> bool:
    """Have the workflow started again in its current state; False if that is no longer needed."""
    with database.write() as connection, Session(connection) as session:
        messages = [] if _has_pending_message(session, subject_id) else _restart_messages(session, kind, subject_id)
        if messages:
            _close_dead_letters(connection, kind, subject_id, now)
        for number, (event, detail) in enumerate(messages):
            outbox.enqueue(connection, event, subject_id, now, detail if number else {**detail, "again": True})
        return bool(messages)


def resend_state(database: Database, kind: Subject, subject_id: str, now: float) -> bool:
    """Send the current state to a running workflow, in place of dead letters. Idempotent for the workflow."""
    with database.write() as connection, Session(connection) as session:
        if _has_pending_message(session, subject_id) or not _close_dead_letters(connection, kind, subject_id, now):
            return False
        for event, detail in _state_messages(session, kind, subject_id):
            outbox.enqueue(connection, event, subject_id, now, detail)
        return True


def notify_ended_regeneration(database: Database, regeneration_id: str, now: float) -> bool:
    """Notify a running regeneration that it ended in SQL without new keys, so that it completes."""
    with database.write() as connection, Session(connection) as session:
        if _has_pending_message(session, regeneration_id):
            return False
        _close_dead_letters(connection, Subject.REGENERATION, regeneration_id, now)
        outbox.enqueue(connection, MessageKind.REGENERATION_SUPERSEDED, regeneration_id, now)
        return True


def _has_pending_message(session: Session, subject_id: str) -> bool:
    """Whether a message is being delivered: from the relay, or from the last reconciliation."""
    waiting = col(Outbox.delivered_at).is_(None) & (col(Outbox.delivery_attempts) < MAX_DELIVERY_ATTEMPTS)
    return session.exec(select(Outbox.id).where(col(Outbox.subject_id) == subject_id, waiting)).first() is not None


def _restart_messages(session: Session, kind: Subject, subject_id: str) -> list[_Message]:
    """Return the messages that start the workflow of an open subject in its current state; none if it is closed."""
    match kind:
        case Subject.INCIDENT:
            if session.get_one(Incident, subject_id).closed_at is not None:
                return []
            # An answer starts it as an answered incident, so that the customer is not alerted again.
            ended = [message for message in _finished_regeneration(session, subject_id) if message[1]["state"] == _DONE]
            return [*(_answer(session, subject_id) or [(MessageKind.INCIDENT_OPENED, {})]), *ended]
        case Subject.REGENERATION:
            if session.get_one(Regeneration, subject_id).finished_at is not None:
                return []
            return _collection(session, subject_id) or [(MessageKind.REGENERATION_OPENED, {})]
        case Subject.NOTICE:
            return [(MessageKind.NOTICE_CREATED, {})] if unfinished_notices(session, [subject_id]) else []
    webhook = session.get_one(Webhook, subject_id)
    pending = webhook.state == WebhookState.PENDING
    return [(MessageKind.WEBHOOK_DUE, {"order": webhook.orders})] if pending else []


def _state_messages(session: Session, kind: Subject, subject_id: str) -> list[_Message]:
    """Return the messages that a running workflow may have missed, in order: an abandonment precedes a later answer."""
    match kind:
        case Subject.INCIDENT:
            return [
                *_finished_regeneration(session, subject_id),
                *_answer(session, subject_id),
                *_amendment(session, subject_id),
            ]
        case Subject.REGENERATION:
            return _collection(session, subject_id)
    return []  # a notice and a webhook have one message, the one that starts them


def _answer(session: Session, incident_id: str) -> list[_Message]:
    answer = session.get_one(IncidentAnswer, incident_id)
    if answer.answer is None:
        return []
    return [
        (MessageKind.INCIDENT_ANSWERED, {"answer": answer.answer, "leaked": answer.leaked, "by": answer.answered_by})
    ]


def _amendment(session: Session, incident_id: str) -> list[_Message]:
    """Return the amendment of the answer by staff, if there is one. A workflow that received it ignores its id."""
    answer = session.get_one(IncidentAnswer, incident_id)
    key = f"{incident_id}/changed-{answer.decision_id}"
    if answer.answer is None or session.exec(select(IncidentEvent.seq).where(IncidentEvent.key == key)).first() is None:
        return []
    detail = {
        "answer": answer.answer,
        "leaked": answer.leaked,
        "by": answer.answered_by,
        "order_id": answer.decision_id,
    }
    return [(MessageKind.INCIDENT_CHANGED, detail)]


def _finished_regeneration(session: Session, incident_id: str) -> list[_Message]:
    last_id = session.get_one(Incident, incident_id).regeneration_id
    last = None if last_id is None else session.get(Regeneration, last_id)
    if last is None or last.finished_at is None:
        return []
    return [(MessageKind.REGENERATION_FINISHED, {"regeneration_id": last.id, "state": last.state})]


def _collection(session: Session, regeneration_id: str) -> list[_Message]:
    collected = session.get_one(Regeneration, regeneration_id).collected_at is not None
    return [(MessageKind.REGENERATION_COLLECTED, {})] if collected else []


def _close_dead_letters(connection: Connection, kind: Subject, subject_id: str, now: float) -> int:
    """Mark dead letters as delivered: the current state is sent in their place. Their error stays in the row."""
    closed = connection.execute(
        update(Outbox)
        .where(col(Outbox.subject_id) == subject_id, is_dead_letter(), col(Outbox.kind).in_(REPEATABLE[kind]))
        .values(delivered_at=utc(now))
    )
    return closed.rowcount
