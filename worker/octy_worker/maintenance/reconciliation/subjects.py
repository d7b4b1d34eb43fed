"""What SQL says of cases, regenerations, notices and webhooks: which are open, and how each stands, said once more.

Here: pages of open ones, the messages that restore a workflow or tell it what it missed, and the end of messages that
were set aside and are replaced by that. Not here: Temporal (`running`), the order of a run (`run`).

What is read in a page may have changed since: every message is put in a transaction that looks again.
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
    OUTDATED,
    MailKind,
    incident_workflow_id,
    notice_workflow_id,
    regeneration_workflow_id,
    webhook_workflow_id,
)

PAGE = 200
_LATE = timedelta(hours=1)  # a mail server that is away for so long is worth a line
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
    """What a workflow is about."""

    INCIDENT = "incident"
    REGENERATION = "regeneration"
    NOTICE = "notice"
    WEBHOOK = "webhook"


_WORKFLOW_ID = {
    Subject.INCIDENT: incident_workflow_id,
    Subject.REGENERATION: regeneration_workflow_id,
    Subject.NOTICE: notice_workflow_id,
}
_ABOUT = {  # messages that the present state says again; a growth that was set aside is a line that only it can tell
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
    """Some subjects of one kind, in the order of their ids. Of these, `open` are open, each with its workflow's id.

    A message about `waiting` ones is on its way. About `aside` ones a message was set aside, so that a workflow that
    runs may not know how they stand.
    """

    ids: Sequence[str]
    open: Mapping[str, str]
    waiting: frozenset[str]
    aside: frozenset[str]


def first_id(kind: Subject, now: float, notice_life: float) -> str:
    """Return the id after which to look: of notices, whose ids go by time, only those still alive matter."""
    return uuid7(max(0.0, now - notice_life), bytes) if kind is Subject.NOTICE else ""


def open_page(database: Database, installation: str, kind: Subject, after: str) -> Page:
    """Return the next page; its last id is where the one after it begins."""
    with database.read_session() as session:
        ids = _ids(session, kind, after)
        undelivered = select(Outbox.subject_id, Outbox.tries, Outbox.kind).where(
            col(Outbox.delivered_at).is_(None), col(Outbox.subject_id).in_(ids)
        )
        found = session.exec(undelivered).all()
        opened = _workflow_ids(session, installation, kind, ids)
    return Page(
        ids,
        opened,
        waiting=frozenset(subject for subject, tries, _ in found if tries < MAX_DELIVERY_ATTEMPTS),
        aside=frozenset(
            subject for subject, tries, event in found if tries >= MAX_DELIVERY_ATTEMPTS and event in _ABOUT[kind]
        ),
    )


def _workflow_ids(session: Session, installation: str, kind: Subject, ids: Sequence[str]) -> dict[str, str]:
    if kind is Subject.WEBHOOK:
        orders = session.exec(select(Webhook.id, Webhook.orders).where(col(Webhook.id).in_(ids))).all()
        return {webhook_id: webhook_workflow_id(installation, webhook_id, order) for webhook_id, order in orders}
    opened = untold(session, ids) if kind is Subject.NOTICE else ids
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


def restore(database: Database, kind: Subject, subject_id: str, now: float) -> bool:
    """Have the workflow started again, as what it would be by now; False when there is no need any more."""
    with database.write() as connection, Session(connection) as session:
        messages = [] if _is_told(session, subject_id) else _anew(session, kind, subject_id)
        if messages:
            _settle_aside(connection, kind, subject_id, now)
        for number, (event, detail) in enumerate(messages):
            outbox.enqueue(connection, event, subject_id, now, detail if number else {**detail, "again": True})
        return bool(messages)


def remind(database: Database, kind: Subject, subject_id: str, now: float) -> bool:
    """Tell a workflow that runs how things stand, in place of what was set aside; repeats change nothing there."""
    with database.write() as connection, Session(connection) as session:
        if _is_told(session, subject_id) or not _settle_aside(connection, kind, subject_id, now):
            return False
        for event, detail in _meanwhile(session, kind, subject_id):
            outbox.enqueue(connection, event, subject_id, now, detail)
        return True


def _is_told(session: Session, subject_id: str) -> bool:
    """Tell whether a message is on its way: a relay is faster, or the last run's word is not delivered yet."""
    waiting = col(Outbox.delivered_at).is_(None) & (col(Outbox.tries) < MAX_DELIVERY_ATTEMPTS)
    return session.exec(select(Outbox.id).where(col(Outbox.subject_id) == subject_id, waiting)).first() is not None


def _anew(session: Session, kind: Subject, subject_id: str) -> list[_Message]:
    """Return the messages that start an open subject's workflow as it stands; none when it is open no more."""
    match kind:
        case Subject.INCIDENT:
            if session.get_one(Incident, subject_id).closed_at is not None:
                return []
            # An answer starts it as a case that is answered: nobody is alerted who has answered already.
            ended = [message for message in _end_of_keys(session, subject_id) if message[1]["state"] == _DONE]
            return [*(_answer(session, subject_id) or [(MessageKind.INCIDENT_OPENED, {})]), *ended]
        case Subject.REGENERATION:
            if session.get_one(Regeneration, subject_id).finished_at is not None:
                return []
            return _collection(session, subject_id) or [(MessageKind.REGENERATION_OPENED, {})]
        case Subject.NOTICE:
            return [(MessageKind.NOTICE_CREATED, {})] if untold(session, [subject_id]) else []
        case Subject.WEBHOOK:
            webhook = session.get_one(Webhook, subject_id)
            pending = webhook.state == WebhookState.PENDING
            return [(MessageKind.WEBHOOK_DUE, {"order": webhook.orders})] if pending else []


def _meanwhile(session: Session, kind: Subject, subject_id: str) -> list[_Message]:
    """Return what a workflow that runs may have missed: an abandonment comes before the answer that followed it."""
    match kind:
        case Subject.INCIDENT:
            return [
                *_end_of_keys(session, subject_id),
                *_answer(session, subject_id),
                *_change(session, subject_id),
            ]
        case Subject.REGENERATION:
            return _collection(session, subject_id)
        case Subject.NOTICE | Subject.WEBHOOK:
            return []


def _answer(session: Session, incident_id: str) -> list[_Message]:
    said = session.get_one(IncidentAnswer, incident_id)
    if said.answer is None:
        return []
    return [(MessageKind.INCIDENT_ANSWERED, {"answer": said.answer, "leaked": said.leaked, "by": said.answered_by})]


def _change(session: Session, incident_id: str) -> list[_Message]:
    """Return what staff has made of the answer, if that is what stands; a workflow that has heard it knows its id."""
    said = session.get_one(IncidentAnswer, incident_id)
    key = f"{incident_id}/changed-{said.decision_id}"
    if said.answer is None or session.exec(select(IncidentEvent.seq).where(IncidentEvent.key == key)).first() is None:
        return []
    detail = {"answer": said.answer, "leaked": said.leaked, "by": said.answered_by, "change_id": said.decision_id}
    return [(MessageKind.INCIDENT_CHANGED, detail)]


def _end_of_keys(session: Session, incident_id: str) -> list[_Message]:
    last_id = session.get_one(Incident, incident_id).regeneration_id
    last = None if last_id is None else session.get(Regeneration, last_id)
    if last is None or last.finished_at is None:
        return []
    return [(MessageKind.REGENERATION_FINISHED, {"regeneration_id": last.id, "state": last.state})]


def _collection(session: Session, regeneration_id: str) -> list[_Message]:
    collected = session.get_one(Regeneration, regeneration_id).collected_at is not None
    return [(MessageKind.REGENERATION_COLLECTED, {})] if collected else []


def _settle_aside(connection: Connection, kind: Subject, subject_id: str, now: float) -> int:
    """Close what was set aside: how things stand today is told in its place. Its fault stays in its row."""
    closed = connection.execute(
        update(Outbox)
        .where(col(Outbox.subject_id) == subject_id, _aside(), col(Outbox.kind).in_(_ABOUT[kind]))
        .values(delivered_at=utc(now))
    )
    return closed.rowcount


def _aside() -> ColumnElement[bool]:
    return col(Outbox.delivered_at).is_(None) & (col(Outbox.tries) >= MAX_DELIVERY_ATTEMPTS)


def mails_of(kind: str) -> tuple[MailKind, ...]:
    """Return the mails of a kind of notice."""
    return _MAILS[NoticeKind(kind)]


def untold(session: Session, ids: Iterable[str]) -> list[str]:
    """Return those of these notices whose mails have not all found their end."""
    notices = session.exec(select(Notice.id, Notice.kind).where(col(Notice.id).in_(list(ids)))).all()
    keys = {notice: [f"{notice}/{mail}/1" for mail in _MAILS[NoticeKind(kind)]] for notice, kind in notices}
    wanted = [key for some in keys.values() for key in some]
    rows = session.exec(select(Mail.key, Mail.state, Mail.last_error).where(col(Mail.key).in_(wanted))).all()
    final = {key for key, state, _ in rows if state in _FINAL}
    overtaken = {key for key, state, why in rows if state == MailState.SKIPPED and why == OUTDATED}
    return [notice for notice, some in keys.items() if not final.issuperset(some) and overtaken.isdisjoint(some)]


def closed_since(database: Database, kind: Subject, ids: Collection[str], before: float) -> dict[str, str]:
    """Return those that SQL closed before a time, with how they ended; "" for one that SQL does not know."""
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


def tell_the_end(database: Database, regeneration_id: str, now: float) -> bool:
    """Tell a regeneration that runs that SQL has ended it in vain: it finds the ending that stands."""
    with database.write() as connection, Session(connection) as session:
        if _is_told(session, regeneration_id):
            return False
        _settle_aside(connection, Subject.REGENERATION, regeneration_id, now)
        outbox.enqueue(connection, MessageKind.REGENERATION_SUPERSEDED, regeneration_id, now)
        return True


def count_late(database: Database, now: float) -> tuple[int, int]:
    """Return how many mails have been pending for long, and how many messages are set aside."""
    with database.read_session() as session:
        pending = col(Mail.state) == MailState.PENDING
        late = session.exec(select(func.count()).where(pending, col(Mail.created_at) <= utc(now) - _LATE)).one()
        return late, session.exec(select(func.count()).where(_aside())).one()
