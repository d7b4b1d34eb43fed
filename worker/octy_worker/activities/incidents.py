"""What `octy_workflows` asks of a case, done in SQL. Every activity may be called twice.

Here: translation of orders into steps of `cases` and `regenerations`. Not here: SQL of its own, mail (`mail`).
"""

from sqlmodel import Session
from temporalio import activity

from octy_middleware.db.database import Database
from octy_middleware.db.models import Incident, IncidentAnswer
from octy_middleware.domain import webhook_events
from octy_middleware.states import Answer, IncidentState, KeyPairCause, Resolution
from octy_worker.domain import incidents, regenerations, restart_state, staff_requests
from octy_worker.domain.missing_subject import missing_subject_error
from octy_workflows.messages import (
    CloseIncidentInput,
    DecisionResult,
    IncidentFacts,
    LoadFactsInput,
    OpenRegenerationInput,
    RecordDecisionInput,
    RecordIncidentEventInput,
)
from octy_workflows.staff_requests import Choice, StaffDecision, parse_decision

_ANSWERS = {Choice.REGENERATE: Answer.NOT_US, Choice.DISMISS: Answer.IT_WAS_US}
_OPENED = "opened"  # the first thing that a case's workflow notes
_LEAKED = "a case whose secret leaked can't be dismissed"


def _known(session: Session, incident_id: str) -> Incident:
    """Return the incident, or raise what is tried again: another worker may have it."""
    incident = session.get(Incident, incident_id)
    if incident is None:
        raise missing_subject_error("incident", incident_id)
    return incident


class IncidentActivities:
    """The activities about cases; `quiet` is the time in seconds after a false alarm."""

    def __init__(self, database: Database, *, quiet: float) -> None:
        self._database = database
        self._quiet = quiet

    @activity.defn(name="note_incident", no_thread_cancel_exception=True)
    def note_incident(self, note: RecordIncidentEventInput) -> None:
        """Append the event to the timeline, and set the state when one is given."""
        with self._database.write() as connection, Session(connection) as session:
            _known(session, note.incident_id)
            new = incidents.append_event(
                connection,
                note.incident_id,
                key=note.key,
                actor=note.actor,
                what=note.what,
                detail=note.detail,
                now=note.at,
            )
            if new and note.what == _OPENED:
                webhook_events.enqueue_incident_opened(connection, note.incident_id, note.at)
            if new and note.state is not None:
                incidents.set_state(connection, note.incident_id, IncidentState(note.state))

    @activity.defn(name="look_at_incident", no_thread_cancel_exception=True)
    def look_at_incident(self, look: LoadFactsInput) -> IncidentFacts:
        """Return what SQL says of the incident."""
        with self._database.read_session() as session:
            found = restart_state.incident_facts(session, look.subject_id)
        if found is None:
            raise missing_subject_error("incident", look.subject_id)
        return found

    @activity.defn(name="take_decision", no_thread_cancel_exception=True)
    def take_decision(self, order: RecordDecisionInput) -> DecisionResult:
        """Let one conditional UPDATE decide whether this decision stands; a leaked pair is retired with it.

        What is decided stands in the staff order's row, which its workflow has marked as used. An abandoned
        regeneration has already reopened the answer (`regenerations.finish`).
        """
        decision = self._decision(order)
        standing = incidents.answer_incident(
            self._database,
            order.incident_id,
            _ANSWERS[Choice(decision.decision)],
            leaked=decision.leaked,
            by=decision.actor,
            decision_id=decision.decision_id,
            reason=decision.reason,
            now=order.at,
        )
        if standing is None:
            raise missing_subject_error("incident", order.incident_id)
        if not standing.taken:
            why = "an earlier answer stands" if standing.answer or standing.closed else _LEAKED
            self._note_refused(order, decision, why)
        return _report(standing)

    def _decision(self, order: RecordDecisionInput) -> StaffDecision:
        if not order.order_id:
            silence = StaffDecision(Choice.REGENERATE, incidents.SYSTEM, "nobody answered in time")
            return silence.with_id(f"{order.incident_id}-silence")
        with self._database.read() as connection:
            row = staff_requests.used_decision(connection, order.order_id, order.incident_id)
        if row is None:
            raise missing_subject_error("staff order", order.order_id)
        decision = parse_decision(staff_requests.request_of(row, StaffDecision.id_field))
        assert isinstance(decision, StaffDecision)  # the activity that marked it as used has read it
        return decision

    def _note_refused(self, order: RecordDecisionInput, decision: StaffDecision, why: str) -> None:
        detail = {"decision": decision.decision, "reason": decision.reason, "why": why}
        with self._database.write() as connection:
            incidents.record_refused_decision(
                connection,
                order.incident_id,
                decision_id=decision.decision_id,
                actor=decision.actor,
                detail=detail,
                now=order.at,
            )

    @activity.defn(name="open_regeneration", no_thread_cancel_exception=True)
    def open_regeneration(self, order: OpenRegenerationInput) -> str:
        """Return the id of the case's regeneration, opened with its outbox row or joined when one is on its way.

        The case's own is replaced only while it still is `order.after`, the one that came to nothing. Nothing is
        opened or returned where no answer wants new keys: staff may have called it off (`octy_worker.staff.amendments`).
        """
        with self._database.write_session() as session:
            incident = _known(session, order.incident_id)
            standing = incident.regeneration_id
            if standing is not None and standing != order.after:
                return standing
            incident_answer = session.get_one(IncidentAnswer, order.incident_id)
            if incident_answer.answer != Answer.NOT_US:
                return ""
            opened = regenerations.open_regeneration(
                session,
                incident.account_id,
                KeyPairCause.INCIDENT,
                old_pair_id=incident.key_pair_id,
                leaked=incident_answer.leaked,
                actor=incident_answer.answered_by or incidents.SYSTEM,
                now=order.at,
            )
            incident.regeneration_id = opened.regeneration_id
            session.add(incident)
            session.flush()
            regenerations.notify_if_finished(session, opened.regeneration_id, order.incident_id, order.at)
            return opened.regeneration_id

    @activity.defn(name="close_incident", no_thread_cancel_exception=True)
    def close_incident(self, order: CloseIncidentInput) -> bool:
        """Close the case, unless SQL denies what that rests on."""
        with self._database.write() as connection, Session(connection) as session:
            _known(session, order.incident_id)
            return incidents.close_incident(
                connection, order.incident_id, Resolution(order.resolution), quiet=self._quiet, now=order.at
            )


def _report(standing: incidents.AnswerResult) -> DecisionResult:
    # A case closed without an answer ended as unanswered: nothing was replaced.
    answer = standing.answer or Answer.IT_WAS_US
    why = "" if standing.taken or standing.answer or standing.closed else _LEAKED
    return DecisionResult(standing.taken, restart_state.CHOICES[answer], standing.leaked, standing.answered_by, why)
