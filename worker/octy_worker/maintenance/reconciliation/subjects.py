"""Subjects of workflows in SQL: pages of open ones, which ones were closed, and what waits for too long."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from sqlalchemy import ColumnElement, true
from sqlmodel import Session, col, func, select

from octy_middleware.clock import utc, uuid7
from octy_middleware.db.database import Database
from octy_middleware.db.models import Incident, Mail, Notice, Outbox, Regeneration, Webhook
from octy_middleware.domain.outbox import MAX_DELIVERY_ATTEMPTS, MessageKind
from octy_middleware.states import MailState, NoticeKind, WebhookState
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
_MAILS = {
    NoticeKind.EXPOSED: (MailKind.EXPOSED,),
    NoticeKind.KEYS_ADDED: (MailKind.KEYS_ADDED,),
    NoticeKind.CONTACT_CHANGED: (MailKind.CONTACT_CHANGED, MailKind.NEW_CONTACT),
    NoticeKind.WEBHOOK_CHANGED: (MailKind.WEBHOOK_CHANGED,),
}


class Subject(StrEnum):
    """The kind of subject of a workflow."""

    INCIDENT = "incident"
    REGENERATION = "regeneration"
    NOTICE = "notice"
    WEBHOOK = "webhook"


WORKFLOW_ID = {
    Subject.INCIDENT: incident_workflow_id,
    Subject.REGENERATION: regeneration_workflow_id,
    Subject.NOTICE: notice_workflow_id,
}
_OPEN: dict[Subject, tuple[type[Incident | Regeneration | Notice | Webhook], ColumnElement[bool]]] = {
    Subject.INCIDENT: (Incident, col(Incident.closed_at).is_(None)),
    Subject.REGENERATION: (Regeneration, col(Regeneration.finished_at).is_(None)),
    Subject.NOTICE: (Notice, true()),  # `unfinished_notices` says which are open
    Subject.WEBHOOK: (Webhook, col(Webhook.state) == WebhookState.PENDING),
}
REPEATABLE = {  # messages that the current state can replace; "incident grew" can't be
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
            if attempts >= MAX_DELIVERY_ATTEMPTS and event in REPEATABLE[kind]
        ),
    )


def _workflow_ids(session: Session, installation: str, kind: Subject, ids: Sequence[str]) -> dict[str, str]:
    if kind is Subject.WEBHOOK:
        orders = session.exec(select(Webhook.id, Webhook.orders).where(col(Webhook.id).in_(ids))).all()
        return {webhook_id: webhook_workflow_id(installation, webhook_id, order) for webhook_id, order in orders}
    opened = unfinished_notices(session, ids) if kind is Subject.NOTICE else ids
    return {subject_id: WORKFLOW_ID[kind](installation, subject_id) for subject_id in opened}


def _ids(session: Session, kind: Subject, after: str) -> Sequence[str]:
    table, is_open = _OPEN[kind]
    return session.exec(select(table.id).where(table.id > after, is_open).order_by(col(table.id)).limit(PAGE)).all()


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


def count_delayed(database: Database, now: float) -> tuple[int, int]:
    """Return how many mails have been pending for long, and how many dead letters there are."""
    with database.read_session() as session:
        pending = col(Mail.state) == MailState.PENDING
        late = session.exec(select(func.count()).where(pending, col(Mail.created_at) <= utc(now) - _DELAYED)).one()
        return late, session.exec(select(func.count()).where(is_dead_letter())).one()


def is_dead_letter() -> ColumnElement[bool]:
    """Return the condition for a message that failed for good."""
    return col(Outbox.delivered_at).is_(None) & (col(Outbox.delivery_attempts) >= MAX_DELIVERY_ATTEMPTS)
