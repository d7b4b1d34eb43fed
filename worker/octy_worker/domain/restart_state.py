"""The facts of an incident or a regeneration in SQL, for workflows that do not trust the content of messages."""

from sqlmodel import Session, select

from octy_middleware.db.models import Incident, IncidentAnswer, IncidentEvent, Regeneration
from octy_middleware.states import Answer
from octy_workflows.messages import (
    FINAL_REGENERATION_STATES,
    IncidentFacts,
    RegenerationFacts,
    RegenerationFinalState,
    Signal,
)
from octy_workflows.staff_requests import Choice

CHOICES = {Answer.NOT_US: Choice.REGENERATE, Answer.IT_WAS_US: Choice.DISMISS}
"""What an answer asks for, in the workflows' words."""

_ROWS = {  # of a timeline, for a signal that may be told again after what it told has changed
    Signal.CUSTOMER_ANSWERED: ("answered",),
    Signal.ANSWER_AMENDED: ("answer_amended",),
    Signal.REGENERATION_FINISHED: ("superseded", "regeneration_abandoned"),
}


def incident_facts(session: Session, incident_id: str) -> IncidentFacts | None:
    """Return the facts of an incident; None when it is not in this database."""
    incident = session.get(Incident, incident_id)
    if incident is None:
        return None
    said = session.get_one(IncidentAnswer, incident_id)
    newest = None if incident.regeneration_id is None else session.get(Regeneration, incident.regeneration_id)
    state = "" if newest is None or newest.finished_at is None else newest.state
    noted = select(IncidentEvent.what).where(IncidentEvent.incident_id == incident_id).distinct()
    told = frozenset(session.exec(noted))
    recorded_signals = [signal for signal, rows in _ROWS.items() if not told.isdisjoint(rows)]
    if said.answer is not None and Signal.CUSTOMER_ANSWERED not in recorded_signals:
        recorded_signals.append(Signal.CUSTOMER_ANSWERED)
    if state in FINAL_REGENERATION_STATES and Signal.REGENERATION_FINISHED not in recorded_signals:
        recorded_signals.append(Signal.REGENERATION_FINISHED)
    if incident.failures > incident.length:
        recorded_signals.append(Signal.FAILURES_INCREASED)
    return IncidentFacts(
        choice=None if said.answer is None else CHOICES[Answer(said.answer)],
        leaked=said.leaked,
        answered_by=said.answered_by,
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
