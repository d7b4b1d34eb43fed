"""Webhook events for an account's own server, written in the transaction of their cause.

`data` contains ids, public keys, counts, choices and times; no secret, link, address or name, because the URL can be
changed with the API keys.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, insert, update
from sqlmodel import col, func, select

from octy_middleware.clock import utc, uuid7
from octy_middleware.db.models import Account, Incident, IncidentEvent, KeyPair, Regeneration, Webhook
from octy_middleware.domain import outbox
from octy_middleware.states import NoticeKind, WebhookState

_NAMED_ACTORS = ("customer", "system")  # every other actor is shown as "staff", without the id
_ANSWER_EVENTS = ("answered", "answer_amended")  # `incident_event.what`


class WebhookEvent(StrEnum):
    """What happened: the `type` of a webhook. In brackets: the fields of `data` beside `account_id`."""

    INCIDENT_OPENED = "incident.opened"  # (incident_id, public_key, rule, failures, first_at)
    INCIDENT_ANSWERED = "incident.answered"  # (incident_id, public_key, answer, leaked, by)
    INCIDENT_CLOSED = "incident.closed"  # (incident_id, public_key, resolution)
    KEYS_READY = "keys.ready"  # (regeneration_id, cause, public_key, replaces, leaked): they can be collected
    KEYS_COLLECTED = "keys.collected"  # (the same)
    KEYS_RETIRED = "keys.retired"  # (public_key, replaced_by)
    KEYS_EXPOSED = "keys.exposed"  # (notice_id, public_key): they came over plain HTTP
    KEYS_ADDED = "keys.added"  # (notice_id, public_key): an import added key pairs; the first one
    CONTACT_CHANGED = "contact.changed"  # (notice_id)
    TEST = "webhook.test"  # (): `octy webhooks test`; never stored


_EVENT_BY_NOTICE = {
    NoticeKind.EXPOSED: WebhookEvent.KEYS_EXPOSED,
    NoticeKind.KEYS_ADDED: WebhookEvent.KEYS_ADDED,
    NoticeKind.CONTACT_CHANGED: WebhookEvent.CONTACT_CHANGED,
}


def enqueue_webhook(
    connection: Connection,
    event: WebhookEvent,
    account_id: str,
    subject_id: str,
    now: float,
    *,
    data: Mapping[str, Any],
    number: int = 1,
) -> bool:
    """Insert one event and its message for the worker, once; True when this call did it.

    Nothing is inserted for an account without a `webhook_url`.
    """
    key = f"{subject_id}/{event}/{number}"
    url = select(Account.webhook_url).where(Account.id == account_id)
    known = select(Webhook.id).where(Webhook.key == key)
    if not connection.execute(url).scalar() or connection.execute(known).first():
        return False
    webhook_id = uuid7(now)
    connection.execute(
        insert(Webhook).values(
            id=webhook_id,
            key=key,
            account_id=account_id,
            event=event,
            data={"account_id": account_id, **data},
            created_at=utc(now),
        )
    )
    outbox.enqueue(connection, outbox.MessageKind.WEBHOOK_DUE, webhook_id, now, {"order": 1}, account_id=account_id)
    return True


def redeliver(connection: Connection, webhook_id: str, now: float) -> bool:
    """Request another delivery of a failed or skipped event; False when it is neither."""
    ended = [WebhookState.FAILED, WebhookState.SKIPPED]
    row = connection.execute(
        update(Webhook)
        .where(col(Webhook.id) == webhook_id, col(Webhook.state).in_(ended))
        .values(state=WebhookState.PENDING, orders=col(Webhook.orders) + 1, delivery_attempts=0)
        .returning(col(Webhook.orders), col(Webhook.account_id))
    ).first()
    if row is not None:
        outbox.enqueue(
            connection, outbox.MessageKind.WEBHOOK_DUE, webhook_id, now, {"order": row[0]}, account_id=row[1]
        )
    return row is not None


def enqueue_incident_opened(connection: Connection, incident_id: str, now: float) -> None:
    """Enqueue `incident.opened`."""
    incident = _incident(connection, incident_id)
    data = {"rule": incident.rule, "failures": incident.length, "first_at": _isoformat(incident.first_at)}
    _enqueue_for_incident(connection, WebhookEvent.INCIDENT_OPENED, incident, now, data)


def enqueue_incident_answered(
    connection: Connection, incident_id: str, now: float, *, answer: str, leaked: bool, by: str
) -> None:
    """Enqueue `incident.answered`, for each answer: an incident may be reopened, and staff may change its answer."""
    is_answer = col(IncidentEvent.what).in_(_ANSWER_EVENTS)
    answers = select(func.count()).where(IncidentEvent.incident_id == incident_id, is_answer)
    data = {"answer": answer, "leaked": leaked, "by": by if by in _NAMED_ACTORS else "staff"}
    number = connection.execute(answers).scalar_one()
    incident = _incident(connection, incident_id)
    _enqueue_for_incident(connection, WebhookEvent.INCIDENT_ANSWERED, incident, now, data, number=number)


def enqueue_incident_closed(connection: Connection, incident_id: str, now: float, *, resolution: str) -> None:
    """Enqueue `incident.closed`."""
    incident, data = _incident(connection, incident_id), {"resolution": resolution}
    _enqueue_for_incident(connection, WebhookEvent.INCIDENT_CLOSED, incident, now, data)


def enqueue_keys_delivered(connection: Connection, event: WebhookEvent, regeneration_id: str, now: float) -> None:
    """Enqueue `keys.ready` or `keys.collected`."""
    columns = (
        Regeneration.account_id,
        Regeneration.cause,
        Regeneration.leaked,
        Regeneration.old_pair_id,
        Regeneration.new_pair_id,
    )
    query = select(*map(col, columns)).where(Regeneration.id == regeneration_id)
    found: Any = connection.execute(query).one()
    account_id, cause, leaked, old, new = found
    data = {
        "regeneration_id": regeneration_id,
        "cause": cause,
        "public_key": _public_key(connection, new),
        "replaces": _public_key(connection, old),
        "leaked": leaked,
    }
    enqueue_webhook(connection, event, account_id, regeneration_id, now, data=data)


def enqueue_keys_retired(connection: Connection, pair_id: str, now: float) -> None:
    """Enqueue `keys.retired`, unless the key pair was never active."""
    columns = (KeyPair.account_id, KeyPair.public_key, KeyPair.activated_at, KeyPair.replaced_by)
    query = select(*map(col, columns)).where(KeyPair.id == pair_id)
    found: Any = connection.execute(query).one()
    account_id, public_key, activated_at, replaced_by = found
    if activated_at is not None:
        data = {"public_key": public_key, "replaced_by": _public_key(connection, replaced_by)}
        enqueue_webhook(connection, WebhookEvent.KEYS_RETIRED, account_id, pair_id, now, data=data)


def enqueue_notice_created(
    connection: Connection, kind: NoticeKind, account_id: str, notice_id: str, now: float, *, pair_id: str | None
) -> None:
    """Enqueue the event of a notice, without its details. A changed URL has none: it may not be the customer's."""
    if kind not in _EVENT_BY_NOTICE:
        return
    data = {"notice_id": notice_id}
    if pair_id is not None:
        data["public_key"] = _public_key(connection, pair_id) or ""
    enqueue_webhook(connection, _EVENT_BY_NOTICE[kind], account_id, notice_id, now, data=data)


def _enqueue_for_incident(
    connection: Connection,
    event: WebhookEvent,
    incident: Any,
    now: float,
    data: Mapping[str, Any],
    *,
    number: int = 1,
) -> None:
    names = {"incident_id": incident.id, "public_key": incident.public_key}
    enqueue_webhook(connection, event, incident.account_id, incident.id, now, data={**names, **data}, number=number)


def _incident(connection: Connection, incident_id: str) -> Any:
    columns = (Incident.id, Incident.account_id, Incident.public_key, Incident.rule, Incident.length, Incident.first_at)
    return connection.execute(select(*map(col, columns)).where(Incident.id == incident_id)).one()


def _public_key(connection: Connection, pair_id: str | None) -> str | None:
    query = select(KeyPair.public_key).where(KeyPair.id == pair_id)
    return None if pair_id is None else str(connection.execute(query).scalar_one())


def _isoformat(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
