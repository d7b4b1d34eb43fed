"""Activities of incidents: translation of inputs to `octy_worker.domain.incidents`. All are idempotent."""

from sqlmodel import Session
from temporalio import activity

from octy_middleware.db.database import Database
from octy_middleware.db.models import Incident, IncidentAnswer
from octy_middleware.domain import webhook_events
from octy_middleware.states import Answer, IncidentState, KeyPairCause, Resolution
from octy_worker.access.receipts import OrderReceipts
from octy_worker.access.roles import Action
from octy_worker.crypto.ssh_certificates import RefusedSignatureError
from octy_worker.domain import incidents, regenerations, restart_state
from octy_worker.domain.missing_subject import missing_subject_error
from octy_worker.domain.staff_orders import content_of
from octy_workflows.messages import (
    CloseIncidentInput,
    DecisionResult,
    IncidentFacts,
    LoadFactsInput,
    OpenRegenerationInput,
    RecordDecisionInput,
    RecordIncidentEventInput,
)
from octy_workflows.order_content import Choice, StaffDecision, parse_order

_ANSWERS = {Choice.REGENERATE: Answer.NOT_US, Choice.DISMISS: Answer.IT_WAS_US}
_OPENED = "opened"  # the first event of an incident's workflow
_LEAKED = "an incident whose secret leaked can't be dismissed"


def _load(session: Session, incident_id: str) -> Incident:
    """Return the incident, or raise a retryable error: another worker's database may have it."""
    incident = session.get(Incident, incident_id)
    if incident is None:
        raise missing_subject_error("incident", incident_id)
    return incident


class IncidentActivities:
    """Activities of incidents; `quiet`: seconds without a new incident after a false alarm."""

    def __init__(self, database: Database, receipts: OrderReceipts, *, quiet: float) -> None:
        self._database = database
        self._receipts = receipts
        self._quiet = quiet

    @activity.defn(name="record_incident_event", no_thread_cancel_exception=True)
    def record_incident_event(self, step: RecordIncidentEventInput) -> None:
        """Add the event to the timeline, and set the state when one is given."""
        with self._database.write_session() as session:
            _load(session, step.incident_id)
            new = incidents.append_event(
                session,
                step.incident_id,
                key=step.key,
                actor=step.actor,
                what=step.event,
                detail=step.detail,
                now=step.at,
            )
            if new and step.event == _OPENED:
                webhook_events.enqueue_incident_opened(session.connection(), step.incident_id, step.at)
            if new and step.state is not None:
                incidents.set_state(session, step.incident_id, IncidentState(step.state))

    @activity.defn(name="load_incident_facts", no_thread_cancel_exception=True)
    def load_incident_facts(self, step: LoadFactsInput) -> IncidentFacts:
        """Return what the database says about the incident."""
        with self._database.read_session() as session:
            found = restart_state.incident_facts(session, step.subject_id)
        if found is None:
            raise missing_subject_error("incident", step.subject_id)
        return found

    @activity.defn(name="record_decision", no_thread_cancel_exception=True)
    def record_decision(self, step: RecordDecisionInput) -> DecisionResult:
        """Let one conditional UPDATE decide whether this decision is accepted; a leaked key pair is retired with it.

        The decision is in the staff order, which the workflow has marked as used.
        """
        decision = self._decision(step)
        with self._database.write_session() as session:
            current = incidents.answer_incident(
                session,
                step.incident_id,
                _ANSWERS[Choice(decision.decision)],
                leaked=decision.leaked,
                by=decision.actor,
                decision_id=decision.order_id,
                reason=decision.reason,
                now=step.at,
            )
            if current is None:
                raise missing_subject_error("incident", step.incident_id)
            if not current.taken:
                why = "there is an earlier answer" if current.answer or current.closed else _LEAKED
                incidents.record_refused_decision(
                    session,
                    step.incident_id,
                    decision_id=decision.order_id,
                    actor=decision.actor,
                    detail={"decision": decision.decision, "reason": decision.reason, "why": why},
                    now=step.at,
                )
        return _decision_result(current)

    def _decision(self, step: RecordDecisionInput) -> StaffDecision:
        if not step.order_id:
            order_id = f"{step.incident_id}-silence"
            return StaffDecision(Choice.REGENERATE, incidents.SYSTEM, "no answer in time", order_id=order_id)
        try:
            with self._database.read_session() as session:
                order = self._receipts.load_used(session, step.order_id, Action.DECIDE, step.incident_id)
        except RefusedSignatureError:  # changed since it was used: staff has to look
            order = None
        if order is None:
            raise missing_subject_error("staff order", step.order_id)
        decision = parse_order(StaffDecision, content_of(order))
        assert isinstance(decision, StaffDecision)  # `use_order` has parsed it before
        return decision

    @activity.defn(name="open_regeneration", no_thread_cancel_exception=True)
    def open_regeneration(self, step: OpenRegenerationInput) -> str:
        """Return the id of the incident's regeneration: a new one with its outbox row, or one that is open already.

        The incident's own is replaced only while it is `step.after`. Returns an empty id when no answer asks for new
        keys: staff may have amended it (`octy_worker.staff.amendments`).
        """
        with self._database.write_session() as session:
            incident = _load(session, step.incident_id)
            current = incident.regeneration_id
            if current is not None and current != step.after:
                return current
            incident_answer = session.get_one(IncidentAnswer, step.incident_id)
            if incident_answer.answer != Answer.NOT_US:
                return ""
            opened = regenerations.open_regeneration(
                session,
                incident.account_id,
                KeyPairCause.INCIDENT,
                old_pair_id=incident.key_pair_id,
                leaked=incident_answer.leaked,
                actor=incident_answer.answered_by or incidents.SYSTEM,
                now=step.at,
            )
            incident.regeneration_id = opened.regeneration_id
            session.add(incident)
            session.flush()
            regenerations.notify_if_finished(session, opened.regeneration_id, step.incident_id, step.at)
            return opened.regeneration_id

    @activity.defn(name="close_incident", no_thread_cancel_exception=True)
    def close_incident(self, step: CloseIncidentInput) -> bool:
        """Close the incident, unless the database has another answer or its keys are pending."""
        with self._database.write_session() as session:
            _load(session, step.incident_id)
            return incidents.close_incident(
                session, step.incident_id, Resolution(step.resolution), quiet=self._quiet, now=step.at
            )


def _decision_result(current: incidents.AnswerResult) -> DecisionResult:
    # An incident that is closed without an answer was unanswered: no key pair was replaced.
    answer = current.answer or Answer.IT_WAS_US
    why = "" if current.taken or current.answer or current.closed else _LEAKED
    return DecisionResult(current.taken, restart_state.CHOICES[answer], current.leaked, current.answered_by, why)
