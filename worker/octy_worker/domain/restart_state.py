"""What SQL says of an incident or a regeneration: facts, which workflows trust in place of messages, and restarts.

Normally a workflow is started once. After Temporal lost its state it is started again: it then continues with the
deadlines that staff gave it, and mail numbers are not reused.
"""

from sqlmodel import Session, col, select

from octy_middleware.clock import utc
from octy_middleware.db.models import Incident, IncidentAnswer, IncidentEvent, Mail, Regeneration, SealedSecret
from octy_middleware.states import Answer
from octy_worker.domain.regenerations import IN_VAIN
from octy_workflows.messages import (
    FINAL_REGENERATION_STATES,
    ExtendedDeadlines,
    IncidentFacts,
    IncidentRestart,
    MailKind,
    RegenerationFacts,
    RegenerationFinalState,
    RegenerationRestart,
    Signal,
)
from octy_workflows.order_content import Choice

CHOICES = {Answer.NOT_US: Choice.REGENERATE, Answer.IT_WAS_US: Choice.DISMISS}
"""What an answer asks for, in the workflows' words."""

_INCIDENT_MAILS = (MailKind.ALERT, MailKind.REMINDER)
_EVENTS = {  # of a timeline, which show that a signal's news was true once, although it may have changed since
    Signal.CUSTOMER_ANSWERED: ("answered",),
    Signal.ANSWER_AMENDED: ("answer_amended",),
    Signal.REGENERATION_FINISHED: ("superseded", "regeneration_abandoned"),
}


def incident_facts(session: Session, incident_id: str) -> IncidentFacts | None:
    """Return the facts of an incident; None when it is not in this database."""
    incident = session.get(Incident, incident_id)
    if incident is None:
        return None
    incident_answer = session.get_one(IncidentAnswer, incident_id)
    newest = None if incident.regeneration_id is None else session.get(Regeneration, incident.regeneration_id)
    state = "" if newest is None or newest.finished_at is None else newest.state
    noted = select(IncidentEvent.what).where(IncidentEvent.incident_id == incident_id).distinct()
    told = frozenset(session.exec(noted))
    recorded_signals = [signal for signal, rows in _EVENTS.items() if not told.isdisjoint(rows)]
    if incident_answer.answer is not None and Signal.CUSTOMER_ANSWERED not in recorded_signals:
        recorded_signals.append(Signal.CUSTOMER_ANSWERED)
    if state in FINAL_REGENERATION_STATES and Signal.REGENERATION_FINISHED not in recorded_signals:
        recorded_signals.append(Signal.REGENERATION_FINISHED)
    if incident.failures > incident.length:
        recorded_signals.append(Signal.FAILURES_INCREASED)
    return IncidentFacts(
        choice=None if incident_answer.answer is None else CHOICES[Answer(incident_answer.answer)],
        leaked=incident_answer.leaked,
        answered_by=incident_answer.answered_by,
        failures=incident.failures,
        regeneration_id=incident.regeneration_id or "",
        regeneration_state=state,
        recorded_signals=[str(signal) for signal in recorded_signals],
    )


def regeneration_facts(session: Session, regeneration_id: str) -> RegenerationFacts | None:
    """Return the facts of a regeneration; None when it is not in this database."""
    row = session.get(Regeneration, regeneration_id)
    if row is None:
        return None
    final_state = row.state if row.finished_at is not None else ""
    collected = row.collected_at is not None
    recorded_signals = [Signal.KEYS_COLLECTED] * collected + [Signal.SUPERSEDED] * (
        bool(final_state) and final_state != RegenerationFinalState.DONE
    )
    return RegenerationFacts(collected, final_state, [str(signal) for signal in recorded_signals])


def incident_restart(session: Session, incident_id: str) -> IncidentRestart | None:
    """Return the restart of an incident's workflow; None if it is closed.

    Deadlines count from the first entry of the timeline, which the first workflow wrote. Without one they restart,
    because the customer may not have been alerted yet.
    """
    incident = session.get_one(Incident, incident_id)
    if incident.closed_at is not None:
        return None
    opened = session.exec(select(IncidentEvent.at).where(IncidentEvent.key == f"{incident_id}/opened")).first()
    last = None if incident.regeneration_id is None else session.get(Regeneration, incident.regeneration_id)
    return IncidentRestart(
        started_at=0.0 if opened is None else opened.timestamp(),
        regeneration_id=last.id if last is not None and last.state in IN_VAIN else "",
    )


def regeneration_restart(session: Session, regeneration_id: str, now: float) -> RegenerationRestart | None:
    """Return the restart of a regeneration's workflow; None if it is finished. Empty if no key pair was issued yet."""
    regeneration = session.get_one(Regeneration, regeneration_id)
    if regeneration.finished_at is not None:
        return None
    sealed = session.exec(select(SealedSecret).where(col(SealedSecret.regeneration_id) == regeneration_id)).first()
    if sealed is None:
        return RegenerationRestart()
    return RegenerationRestart(
        started_at=regeneration.opened_at.timestamp(),
        generation=sealed.generation,
        expired=sealed.sealed is not None and sealed.expires_at <= utc(now),
    )


def last_extension(session: Session, incident_id: str) -> ExtendedDeadlines | None:
    """Return the deadlines of the last extension, or None when there was none."""
    detail = session.exec(
        select(IncidentEvent.detail)
        .where(IncidentEvent.incident_id == incident_id, IncidentEvent.what == "extended")
        .order_by(col(IncidentEvent.seq).desc())
        .limit(1)
    ).first()
    return None if detail is None else ExtendedDeadlines(float(detail["staff_at"]), float(detail["ends_at"]))


def last_mail_numbers(session: Session, incident_id: str) -> dict[str, int]:
    """Return the highest number of each kind of mail that was requested for the incident."""
    keys = session.exec(select(Mail.key).where(Mail.incident_id == incident_id, col(Mail.kind).in_(_INCIDENT_MAILS)))
    numbers: dict[str, int] = {}
    for key in keys:
        _, kind, number, *_ = key.split("/")  # a copy to a former address has more
        numbers[kind] = max(numbers.get(kind, 0), int(number))
    return numbers
