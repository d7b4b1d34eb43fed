"""Confirms a database's new location: the installation was moved, or this is a copy of it.

A copy gets an installation id of its own, and everything that was open in the original ends in it: customers get
messages from the original only.
"""

from collections.abc import Mapping

from sqlalchemy import Delete, Update, delete, update
from sqlmodel import Session, col, select

from octy_middleware.clock import utc
from octy_middleware.db.database import Database, mark_erased
from octy_middleware.db.models import (
    AppProcess,
    Incident,
    Job,
    KeyCheck,
    Mail,
    Notice,
    Outbox,
    Regeneration,
    SealedSecret,
    Webhook,
)
from octy_middleware.domain.installation import load_installation, new_installation_id, record_location
from octy_middleware.domain.key_checks import register_keys
from octy_middleware.errors import ConfigurationError, InvalidInputError
from octy_middleware.keys.keychain import Keychain
from octy_middleware.states import IncidentState, MailState, RegenerationState, Resolution, WebhookState
from octy_worker.domain import incidents
from octy_worker.maintenance.reconciliation.subjects import PAGE, mail_kinds_of, unfinished_notices
from octy_workflows.messages import OBSOLETE

COPIED = "copied"
"""Why something that was open in the original ended here: a code in timelines and rows."""


def adopt(
    database: Database, way: str | None, keys: Mapping[str, Keychain], now: float, *, in_place: bool = False
) -> tuple[str, dict[str, int]]:
    """Confirm the place, as "moved" or as "copy", and register keys again, all or nothing.

    `in_place`: a copy may stand where the original stood. Return the installation's id, and how much of what ended
    because it was open in the original.
    """
    with database.write_session() as session:
        connection = session.connection()
        found = load_installation(database, connection)
        if found is None:
            raise ConfigurationError("the database has no installation id yet: run `octy db upgrade`")
        installation, closed = found.id, {}
        if way == "copy" and found.is_at_recorded_location and not in_place:
            raise InvalidInputError(
                "the database is where its installation has it, so this is the original → a copy of a server's files "
                "or of a disk looks the same: only for such a copy add --snapshot"
            )
        if way == "copy":
            installation = new_installation_id()
            closed = _end_what_was_open(session, now)
        if way is not None:
            record_location(connection, installation, found.current_location)
        for purpose, chain in keys.items():
            connection.execute(delete(KeyCheck).where(col(KeyCheck.purpose) == purpose))
            register_keys(connection, purpose, chain, now)
    return installation, closed


def _end_what_was_open(session: Session, now: float) -> dict[str, int]:
    notices = _skip_notices(session, now)
    ended = {
        "incidents": _close_incidents(session, now),
        "regenerations": _finish_regenerations(session, now),
        "notices": notices,
        "mails": _skip_mails(session),
        "webhooks": _skip_webhooks(session),
        "messages": _settle_messages(session, now),
    }
    _count(session, update(Job).values(holder="", leased_until=None))
    _count(session, delete(AppProcess))  # of the original's host apps
    return ended


def _close_incidents(session: Session, now: float) -> int:
    opened = session.exec(select(Incident.id).where(col(Incident.closed_at).is_(None))).all()
    for incident_id in opened:
        closed = {"state": IncidentState.CLOSED, "resolution": Resolution.COPIED, "closed_at": utc(now)}
        _count(session, update(Incident).where(col(Incident.id) == incident_id).values(**closed))
        incidents.append_event(
            session,
            incident_id,
            key="closed",
            actor=incidents.SYSTEM,
            what="closed",
            detail={"resolution": str(Resolution.COPIED)},
            now=now,
        )
    return len(opened)


def _finish_regenerations(session: Session, now: float) -> int:
    """Finish them as they stand; uncollected secrets are the original's to hand out."""
    _count(session, update(SealedSecret).where(col(SealedSecret.sealed).is_not(None)).values(sealed=None))
    mark_erased(session.connection())
    unfinished = update(Regeneration).where(col(Regeneration.finished_at).is_(None))
    collected = col(Regeneration.collected_at).is_not(None)
    return sum(
        _count(session, unfinished.where(condition).values(state=state, finished_at=utc(now)))
        for condition, state in ((collected, RegenerationState.DONE), (~collected, RegenerationState.ABANDONED))
    )


def _skip_notices(session: Session, now: float) -> int:
    """Put down, of each mail of a notice that has none yet, that it is skipped for good."""
    ids = session.exec(select(Notice.id)).all()
    waiting = [
        one for start in range(0, len(ids), PAGE) for one in unfinished_notices(session, ids[start : start + PAGE])
    ]
    for notice_id in waiting:
        notice = session.get_one(Notice, notice_id)
        for kind in mail_kinds_of(notice.kind):
            key = f"{notice_id}/{kind}/1"
            if session.get(Mail, key) is None:
                session.add(
                    Mail(
                        key=key,
                        account_id=notice.account_id,
                        kind=kind,
                        message_id=f"<{key}@{COPIED}.invalid>",
                        state=MailState.SKIPPED,
                        last_error=OBSOLETE,
                        created_at=utc(now),
                    )
                )
    session.flush()
    return len(waiting)


def _skip_mails(session: Session) -> int:
    pending = update(Mail).where(col(Mail.state) == MailState.PENDING)
    return _count(session, pending.values(state=MailState.SKIPPED, last_error=OBSOLETE))


def _skip_webhooks(session: Session) -> int:
    pending = update(Webhook).where(col(Webhook.state) == WebhookState.PENDING)
    return _count(session, pending.values(state=WebhookState.SKIPPED, last_error=COPIED))


def _settle_messages(session: Session, now: float) -> int:
    undelivered = update(Outbox).where(col(Outbox.delivered_at).is_(None))
    values = {"delivered_at": utc(now), "last_error": COPIED, "leased_by": "", "leased_until": None}
    return _count(session, undelivered.values(**values))


def _count(session: Session, statement: Update | Delete) -> int:
    """Run it; return the number of rows."""
    return session.connection().execute(statement).rowcount
