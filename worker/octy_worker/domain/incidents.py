"""Incidents in SQL: views, timeline, answer and closing. Every step is idempotent: a repeat finds its row.

The middleware opens incidents; when a step is due is decided by `octy_workflows.incident`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import assert_never

from sqlalchemy import ColumnElement, delete, func, insert, literal, or_, update
from sqlmodel import Session, col, select

from octy_middleware.clock import utc
from octy_middleware.db.models import Account, Incident, IncidentAnswer, IncidentEvent, KeyPair, Regeneration, Streak
from octy_middleware.domain import key_pairs, outbox, webhook_events
from octy_middleware.recording.streak import Rule
from octy_middleware.states import Answer, IncidentState, RegenerationState, Resolution
from octy_worker.audit import repository as audit
from octy_worker.domain.held_pair import held_pair_id
from octy_worker.domain.histogram import Plot
from octy_worker.domain.usage import LateUse, SourceSummary, attempts_over_time, late_uses, load_sources

SYSTEM = "system"
CUSTOMER = "customer"

# Events that the worker writes itself because of a message that it got: the audit log has them too.
_AUDITED_OF_SYSTEM = frozenset({"signal_ignored", "decision_refused", "extension_refused", "resend_refused", "closed"})


@dataclass(frozen=True, slots=True)
class IncidentView:
    """What pages, mails and support staff are shown of an incident."""

    incident: Incident
    incident_answer: IncidentAnswer
    account: Account
    pair: KeyPair
    events: tuple[IncidentEvent, ...]
    sources: SourceSummary
    failures: int
    late_uses: tuple[LateUse, ...]


@dataclass(frozen=True, slots=True)
class AnswerResult:
    """The current answer, and whether this call gave it."""

    taken: bool
    answer: Answer | None
    leaked: bool
    answered_at: datetime | None
    answered_by: str
    closed: bool
    resolution: Resolution | None


def load_incident(session: Session, incident_id: str) -> IncidentView | None:
    """Return the incident, or None."""
    incident = session.get(Incident, incident_id)
    if incident is None:
        return None
    sources = load_sources(session, incident_id)
    return IncidentView(
        incident=incident,
        incident_answer=session.get_one(IncidentAnswer, incident_id),
        account=session.get_one(Account, incident.account_id),
        pair=session.get_one(KeyPair, incident.key_pair_id),
        events=events_of(session, incident_id),
        sources=sources,
        failures=max(incident.failures, sources.total),
        late_uses=late_uses(session, incident.account_id, incident.opened_at),
    )


def events_of(session: Session, incident_id: str) -> tuple[IncidentEvent, ...]:
    """Return an incident's timeline, oldest first."""
    noted = select(IncidentEvent).where(IncidentEvent.incident_id == incident_id)
    return tuple(session.exec(noted.order_by(col(IncidentEvent.seq))))


def failures_over_time(session: Session, incident: Incident) -> Plot | None:
    """Return when the attempts of an incident came, from the first one on; None when that is no longer kept."""
    return attempts_over_time(session, incident.id, incident.public_key)


def window_seconds(incident: Incident) -> float | None:
    """Return the seconds, in whole minutes, of the failures that opened the incident by the window rule."""
    if incident.rule != Rule.WINDOW:
        return None
    return 60.0 * max(1, math.ceil((incident.opened_at - incident.first_at).total_seconds() / 60))


def answer_incident(
    session: Session,
    incident_id: str,
    answer: Answer,
    *,
    leaked: bool,
    by: str,
    decision_id: str = "",
    reason: str = "",
    now: float,
) -> AnswerResult | None:
    """Record the answer if there is none yet, by one conditional UPDATE. None when there is no such incident.

    Customer and staff may answer at the same time: this is the one place that decides between them.
    With `leaked` the attacked pair is retired in the same transaction. A customer's answer is put into the outbox;
    staff decisions come from the workflow, which needs no message. A repeat of `decision_id` counts as taken.
    """
    leaked = leaked and answer is Answer.NOT_US
    taken = _record_answer(session, incident_id, answer, leaked=leaked, by=by, decision_id=decision_id, now=now)
    incident = session.get(Incident, incident_id)
    if incident is None:
        return None
    if taken:
        if leaked:
            retire_leaked(session, incident.key_pair_id, now)
        detail = {"answer": str(answer), "leaked": leaked}
        append_event(
            session,
            incident_id,
            key=f"answered-{now:.6f}",  # the UPDATE above lets one answer in; after a reopening another
            actor=by,
            what="answered",
            detail={**detail, "reason": reason} if reason else detail,
            now=now,
        )
        connection = session.connection()
        webhook_events.enqueue_incident_answered(connection, incident_id, now, answer=answer, leaked=leaked, by=by)
        if by == CUSTOMER:
            outbox.enqueue(connection, outbox.MessageKind.INCIDENT_ANSWERED, incident_id, now, detail)
    return read_answer(session, incident_id, taken=taken, decision_id=decision_id)


def retire_leaked(session: Session, pair_id: str, now: float) -> None:
    """Retire a key pair and, if it was never collected, the one that it was to replace: the customer has that one."""
    held = held_pair_id(session, pair_id)
    for leaked in {pair_id, held or pair_id}:
        key_pairs.retire(session.connection(), leaked, now)


def _record_answer(
    session: Session,
    incident_id: str,
    answer: Answer,
    *,
    leaked: bool,
    by: str,
    decision_id: str,
    now: float,
) -> bool:
    still_open = select(Incident.id).where(Incident.id == incident_id, col(Incident.closed_at).is_(None))
    result = session.connection().execute(
        update(IncidentAnswer)
        .where(
            col(IncidentAnswer.incident_id) == incident_id,
            col(IncidentAnswer.answer).is_(None),
            still_open.exists(),
            # A reported leak stays reported: the incident can't become a false alarm later.
            or_(literal(answer is Answer.NOT_US), col(IncidentAnswer.leaked).is_(False)),
        )
        .values(
            answer=answer,
            leaked=or_(literal(leaked), col(IncidentAnswer.leaked)),
            answered_at=utc(now),
            answered_by=by,
            decision_id=decision_id,
        )
    )
    return result.rowcount == 1


def read_answer(session: Session, incident_id: str, *, taken: bool = False, decision_id: str = "") -> AnswerResult:
    """Return the current answer of an existing incident."""
    incident = session.get_one(Incident, incident_id)
    incident_answer = session.get_one(IncidentAnswer, incident_id, populate_existing=True)
    repeated = decision_id != "" and incident_answer.decision_id == decision_id
    return AnswerResult(
        taken=taken or repeated,
        answer=None if incident_answer.answer is None else Answer(incident_answer.answer),
        leaked=incident_answer.leaked,
        answered_at=incident_answer.answered_at,
        answered_by=incident_answer.answered_by,
        closed=incident.closed_at is not None,
        resolution=None if incident.resolution is None else Resolution(incident.resolution),
    )


def reopen_answer(session: Session, incident_id: str) -> None:
    """Allow staff to answer again, after a regeneration was abandoned. The timeline keeps the first answer."""
    session.connection().execute(
        update(IncidentAnswer)
        .where(col(IncidentAnswer.incident_id) == incident_id)
        .values(answer=None, answered_at=None, answered_by="", decision_id="")
    )


def append_event(
    session: Session,
    incident_id: str,
    *,
    key: str,
    actor: str,
    what: str,
    detail: Mapping[str, object],
    now: float,
) -> bool:
    """Append to the timeline unless it has an event of this key. True when this call did it.

    What staff and customers did goes into the audit log in the same transaction.
    """
    full_key = f"{incident_id}/{key}"
    if session.exec(select(IncidentEvent.seq).where(IncidentEvent.key == full_key)).first():
        return False
    next_seq = select(func.coalesce(func.max(IncidentEvent.seq), 0) + 1).where(IncidentEvent.incident_id == incident_id)
    session.connection().execute(
        insert(IncidentEvent).values(
            incident_id=incident_id,
            seq=next_seq.scalar_subquery(),
            key=full_key,
            at=utc(now),
            actor=actor,
            what=what,
            detail=dict(detail),
        )
    )
    if actor != SYSTEM or what in _AUDITED_OF_SYSTEM:
        audit.append(session, f"incident.{what}", actor=actor, subject=incident_id, detail=detail, now=now)
    return True


def record_refused_decision(
    session: Session,
    incident_id: str,
    *,
    decision_id: str,
    actor: str,
    detail: Mapping[str, object],
    now: float,
    what: str = "decision_refused",
) -> None:
    """Record a refused request of staff in the timeline, once for each id."""
    append_event(
        session,
        incident_id,
        key=f"refused-{decision_id}",
        actor=actor,
        what=what,
        detail=detail,
        now=now,
    )


def set_state(session: Session, incident_id: str, state: IncidentState) -> None:
    """Set the state of an open incident; a closed one stays closed."""
    session.connection().execute(
        update(Incident).where(col(Incident.id) == incident_id, col(Incident.closed_at).is_(None)).values(state=state)
    )


def clear_needs_staff(session: Session, incident_id: str, state: IncidentState = IncidentState.REGENERATING) -> None:
    """Set an open incident that needed staff back to its state: usually, new keys are being delivered."""
    session.connection().execute(
        update(Incident)
        .where(
            col(Incident.id) == incident_id,
            col(Incident.closed_at).is_(None),
            col(Incident.state) == IncidentState.NEEDS_STAFF,
        )
        .values(state=state)
    )


def _allows_resolution(resolution: Resolution) -> ColumnElement[bool]:
    """Return the condition under which an incident may be closed so."""
    answer = select(IncidentAnswer.incident_id).where(col(IncidentAnswer.incident_id) == col(Incident.id))
    match resolution:
        case Resolution.UNANSWERED:
            return answer.where(col(IncidentAnswer.answer).is_(None)).exists()
        case Resolution.FALSE_ALARM:
            return answer.where(col(IncidentAnswer.answer) == Answer.IT_WAS_US).exists()
        case Resolution.REGENERATED:
            over = select(Regeneration.id).where(
                col(Regeneration.id) == col(Incident.regeneration_id),
                col(Regeneration.state).in_([RegenerationState.DONE, RegenerationState.SUPERSEDED]),
            )
            return answer.where(col(IncidentAnswer.answer) == Answer.NOT_US).exists() & over.exists()
        case Resolution.COPIED:  # an operator's decision about a copied database
            return answer.exists()
        case unknown:  # pragma: no cover - there is no other resolution
            assert_never(unknown)


def close_incident(session: Session, incident_id: str, resolution: Resolution, *, quiet: float, now: float) -> bool:
    """Close an open incident: streaks restart at zero; after a false alarm the key pair has a quiet time, in seconds.

    False, with nothing done, when the rows do not allow it: `unanswered` needs that there is no answer, `false_alarm`
    an answer that says so, `regenerated` an answer that asks for new keys and a regeneration that is over and was not
    abandoned. A repeat is True.
    """
    closed = (
        session.connection()
        .execute(
            update(Incident)
            .where(col(Incident.id) == incident_id, col(Incident.closed_at).is_(None), _allows_resolution(resolution))
            .values(state=IncidentState.CLOSED, resolution=resolution, closed_at=utc(now))
            .returning(col(Incident.public_key), col(Incident.key_pair_id))
        )
        .first()
    )
    if closed is None:
        is_closed = select(Incident.id).where(Incident.id == incident_id, col(Incident.closed_at).is_not(None))
        return session.exec(is_closed).first() is not None
    public_key, pair_id = closed
    session.connection().execute(delete(Streak).where(col(Streak.public_key) == public_key))
    if resolution is Resolution.FALSE_ALARM:
        until = utc(now) + timedelta(seconds=quiet)
        session.connection().execute(update(KeyPair).where(col(KeyPair.id) == pair_id).values(quiet_until=until))
    append_event(
        session,
        incident_id,
        key="closed",
        actor=SYSTEM,
        what="closed",
        detail={"resolution": str(resolution)},
        now=now,
    )
    webhook_events.enqueue_incident_closed(session.connection(), incident_id, now, resolution=resolution)
    return True
