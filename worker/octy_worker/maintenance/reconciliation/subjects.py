"""Subjects of workflows in SQL: pages of open ones, and messages that restart a workflow or repeat the current state.

These messages replace dead letters. A page may be outdated: each message is put in a transaction that reads again.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from sqlalchemy import ColumnElement, Connection, update
from sqlmodel import Session, col, func, select

from octy_middleware.clock import utc, uuid7
from octy_middleware.db.database import Database
from octy_middleware.db.models import (
    Incident,
    IncidentAnswer,
    IncidentEvent,
    Mail,
    Notice,
    Outbox,
    Regeneration,
    Webhook,
)
from octy_middleware.domain import outbox
from octy_middleware.domain.outbox import MAX_DELIVERY_ATTEMPTS, MessageKind
from octy_middleware.states import MailState, NoticeKind, RegenerationState, WebhookState
from octy_workflows.messages import (
    OBSOLETE,
    MailKind,
    incident_workflow_id,
    notice_workflow_id,
    regeneration_workflow_id,
    webhook_workflow_id,
)

PAGE = 200
_DELAYED = timedelta(hours=1)  # mails pending for longer are reported
_FINAL = (MailState.SENT, MailState.FAILED)
_DONE = RegenerationState.DONE
_MAILS = {
    NoticeKind.EXPOSED: (MailKind.EXPOSED,),
    NoticeKind.KEYS_ADDED: (MailKind.KEYS_ADDED,),
    NoticeKind.CONTACT_CHANGED: (MailKind.CONTACT_CHANGED, MailKind.NEW_CONTACT),
    NoticeKind.WEBHOOK_CHANGED: (MailKind.WEBHOOK_CHANGED,),
}
_Message = tuple[MessageKind, dict[str, object]]


class Subject(StrEnum):
    """The kind of subject of a workflow."""

    INCIDENT = "incident"
    REGENERATION = "regeneration"
    NOTICE = "notice"
    WEBHOOK = "webhook"


_WORKFLOW_ID = {
    Subject.INCIDENT: incident_workflow_id,
    Subject.REGENERATION: regeneration_workflow_id,
    Subject.NOTICE: notice_workflow_id,
}
_REPEATABLE = {  # messages that the current state can replace; "incident grew" can't be
    Subject.INCIDENT: (
        MessageKind.INCIDENT_OPENED,
        MessageKind.INCIDENT_ANSWERED,
        MessageKind.INCIDENT_CHANGED,
        MessageKind.REGENERATION_FINISHED,
    ),
    Subject.REGENERATION: (
        MessageKind.REGENERATION_OPENED,
        MessageKind.REGENERATION_COLLECTED,
        MessageKind.REGENERATION_SUPERSEDED,
    ),
    Subject.NOTICE: (MessageKind.NOTICE_CREATED,),
    Subject.WEBHOOK: (MessageKind.WEBHOOK_DUE,),
}


@dataclass(frozen=True, slots=True)
class Page:
    """Subjects of one kind, by id. `open`: the workflow ids of those that are open.

    `waiting`: a message about them is being delivered. `dead_letters`: a message about them is a dead letter, so that a
    running workflow may not know the current state.
    """

    ids: Sequence[str]
    open: Mapping[str, str]
    waiting: frozenset[str]
    dead_letters: frozenset[str]


def first_id(kind: Subject, now: float, notice_ttl: float) -> str:
    """Return the id after which to start. The ids of notices ascend with time: only recent ones matter."""
    return uuid7(max(0.0, now - notice_ttl), bytes) if kind is Subject.NOTICE else ""


def open_page(database: Database, installation: str, kind: Subject, after: str) -> Page:
    """Return the next page. Its last id is the `after` of the page that follows."""
    with database.read_session() as session:
        ids = _ids(session, kind, after)
        undelivered = select(Outbox.subject_id, Outbox.delivery_attempts, Outbox.kind).where(
            col(Outbox.delivered_at).is_(None), col(Outbox.subject_id).in_(ids)
        )
        found = session.exec(undelivered).all()
        opened = _workflow_ids(session, installation, kind, ids)
    return Page(
        ids,
        opened,
        waiting=frozenset(subject for subject, attempts, _ in found if attempts < MAX_DELIVERY_ATTEMPTS),
        dead_letters=frozenset(
            subject
            for subject, attempts, event in found
            if attempts >= MAX_DELIVERY_ATTEMPTS and event in _REPEATABLE[kind]
        ),
    )


def _workflow_ids(session: Session, installation: str, kind: Subject, ids: Sequence[str]) -> dict[str, str]:
    if kind is Subject.WEBHOOK:
        orders = session.exec(select(Webhook.id, Webhook.orders).where(col(Webhook.id).in_(ids))).all()
        return {webhook_id: webhook_workflow_id(installation, webhook_id, order) for webhook_id, order in orders}
    opened = unfinished_notices(session, ids) if kind is Subject.NOTICE else ids
    return {subject_id: _WORKFLOW_ID[kind](installation, subject_id) for subject_id in opened}


def _ids(session: Session, kind: Subject, after: str) -> Sequence[str]:
    match kind:
        case Subject.INCIDENT:
            query = select(Incident.id).where(Incident.id > after, col(Incident.closed_at).is_(None))
            return session.exec(query.order_by(col(Incident.id)).limit(PAGE)).all()
        case Subject.REGENERATION:
            query = select(Regeneration.id).where(Regeneration.id > after, col(Regeneration.finished_at).is_(None))
            return session.exec(query.order_by(col(Regeneration.id)).limit(PAGE)).all()
        case Subject.NOTICE:
            return session.exec(select(Notice.id).where(Notice.id > after).order_by(col(Notice.id)).limit(PAGE)).all()
        case Subject.WEBHOOK:
            query = select(Webhook.id).where(Webhook.id > after, Webhook.state == WebhookState.PENDING)
            return session.exec(query.order_by(col(Webhook.id)).limit(PAGE)).all()


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
        case Subject.WEBHOOK:
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
        case Subject.NOTICE | Subject.WEBHOOK:
            return []


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
        .where(col(Outbox.subject_id) == subject_id, _is_dead_letter(), col(Outbox.kind).in_(_REPEATABLE[kind]))
        .values(delivered_at=utc(now))
    )
    return closed.rowcount


def _is_dead_letter() -> ColumnElement[bool]:
    return col(Outbox.delivered_at).is_(None) & (col(Outbox.delivery_attempts) >= MAX_DELIVERY_ATTEMPTS)


def mail_kinds_of(kind: str) -> tuple[MailKind, ...]:
    """Return the kinds of mails of a kind of notice."""
    return _MAILS[NoticeKind(kind)]


def unfinished_notices(session: Session, ids: Iterable[str]) -> list[str]:
    """Return those notices whose mails are not all in a final state."""
    notices = session.exec(select(Notice.id, Notice.kind).where(col(Notice.id).in_(list(ids)))).all()
    keys = {notice: [f"{notice}/{mail}/1" for mail in _MAILS[NoticeKind(kind)]] for notice, kind in notices}
    wanted = [key for some in keys.values() for key in some]
    rows = session.exec(select(Mail.key, Mail.state, Mail.last_error).where(col(Mail.key).in_(wanted))).all()
    final = {key for key, state, _ in rows if state in _FINAL}
    outdated = {key for key, state, why in rows if state == MailState.SKIPPED and why == OBSOLETE}
    return [notice for notice, some in keys.items() if not final.issuperset(some) and outdated.isdisjoint(some)]


def closed_since(database: Database, kind: Subject, ids: Collection[str], before: float) -> dict[str, str]:
    """Return subjects that were closed before a time, with their final state; "" if there is no row."""
    with database.read_session() as session:
        if kind is Subject.INCIDENT:
            query = select(Incident.id, Incident.closed_at, Incident.resolution).where(col(Incident.id).in_(ids))
        else:
            query = select(Regeneration.id, Regeneration.finished_at, Regeneration.state).where(
                col(Regeneration.id).in_(ids)
            )
        rows = session.exec(query).all()
    ended = {found: str(how) for found, at, how in rows if at is not None and at <= utc(before)}
    return {**ended, **dict.fromkeys(set(ids) - {found for found, _, _ in rows}, "")}


def notify_ended_regeneration(database: Database, regeneration_id: str, now: float) -> bool:
    """Notify a running regeneration that it ended in SQL without new keys, so that it completes."""
    with database.write() as connection, Session(connection) as session:
        if _has_pending_message(session, regeneration_id):
            return False
        _close_dead_letters(connection, Subject.REGENERATION, regeneration_id, now)
        outbox.enqueue(connection, MessageKind.REGENERATION_SUPERSEDED, regeneration_id, now)
        return True


def count_delayed(database: Database, now: float) -> tuple[int, int]:
    """Return how many mails have been pending for long, and how many dead letters there are."""
    with database.read_session() as session:
        pending = col(Mail.state) == MailState.PENDING
        late = session.exec(select(func.count()).where(pending, col(Mail.created_at) <= utc(now) - _DELAYED)).one()
        return late, session.exec(select(func.count()).where(_is_dead_letter())).one()
