"""What `octy_workflows` asks of a case, done in SQL. Every activity may be called twice.

Here: translation of orders into steps of `cases` and `regenerations`. Not here: SQL of its own, mail (`mail`).
"""

from temporalio import activity
from temporalio.exceptions import ApplicationError

from octy_middleware import webhooks
from octy_middleware.database import Database
from octy_middleware.models import Confirmation, Incident
from octy_middleware.states import Answer, Cause, IncidentState, Resolution
from octy_worker import cases, regenerations
from octy_workflows.messages import CloseOrder, DecisionOrder, DecisionReport, IncidentNote, RegenerationOrder
from octy_workflows.staff import Choice

_ANSWERS = {Choice.REGENERATE: Answer.NOT_US, Choice.DISMISS: Answer.IT_WAS_US}
_OPENED = "opened"  # the first thing that a case's workflow notes
_CHOICES = {answer: choice for choice, answer in _ANSWERS.items()}


def choice_of(answer: Answer) -> Choice:
    """Return what an answer asks for, in the workflows' words."""
    return _CHOICES[answer]


class IncidentActivities:
    """The activities about cases; `quiet` is the time in seconds after a false alarm."""

    def __init__(self, database: Database, *, quiet: float) -> None:
        self._database = database
        self._quiet = quiet

    @activity.defn(name="note_incident", no_thread_cancel_exception=True)
    def note_incident(self, note: IncidentNote) -> None:
        """Append the event to the timeline, and set the state when one is given."""
        with self._database.write() as connection:
            new = cases.append_event(
                connection,
                note.incident_id,
                key=note.key,
                actor=note.actor,
                what=note.what,
                detail=note.detail,
                now=note.at,
            )
            if new and note.what == _OPENED:
                webhooks.incident_opened(connection, note.incident_id, note.at)
            if new and note.state is not None:
                cases.set_state(connection, note.incident_id, IncidentState(note.state))

    @activity.defn(name="take_decision", no_thread_cancel_exception=True)
    def take_decision(self, order: DecisionOrder) -> DecisionReport:
        """Let one conditional UPDATE decide whether this decision stands; a leaked pair is retired with it.

        An abandoned regeneration has already reopened the answer (`regenerations.finish`).
        """
        decision = order.decision
        standing = cases.answer_case(
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
            raise ApplicationError("there is no such case", order.incident_id, non_retryable=True)
        if not standing.taken:
            self._note_refused(order)
        return _report(standing)

    def _note_refused(self, order: DecisionOrder) -> None:
        decision = order.decision
        detail = {"decision": decision.decision, "reason": decision.reason, "why": "an earlier answer stands"}
        with self._database.write() as connection:
            cases.note_refused_decision(
                connection,
                order.incident_id,
                decision_id=decision.decision_id,
                actor=decision.actor,
                detail=detail,
                now=order.at,
            )

    @activity.defn(name="open_regeneration", no_thread_cancel_exception=True)
    def open_regeneration(self, order: RegenerationOrder) -> str:
        """Return the id of the case's regeneration, opened with its outbox row or joined when one is on its way.

        The case's own is replaced only while it still is `order.after`, the one that came to nothing. Nothing is
        opened or returned where staff has called it off meanwhile (`octy_worker.changed_answers`).
        """
        with self._database.write_session() as session:
            incident = session.get_one(Incident, order.incident_id)
            standing = incident.regeneration_id
            if standing is not None and standing != order.after:
                return standing
            confirmation = session.get_one(Confirmation, order.incident_id)
            if confirmation.answer == Answer.IT_WAS_US:
                return ""
            opened = regenerations.open_regeneration(
                session,
                incident.account_id,
                Cause.INCIDENT,
                old_pair_id=incident.key_pair_id,
                leaked=order.leaked or confirmation.leaked,
                actor=confirmation.answered_by or cases.SYSTEM,
                now=order.at,
            )
            incident.regeneration_id = opened.regeneration_id
            session.add(incident)
            session.flush()
            regenerations.tell_if_finished(session, opened.regeneration_id, order.incident_id, order.at)
            return opened.regeneration_id

    @activity.defn(name="close_incident", no_thread_cancel_exception=True)
    def close_incident(self, order: CloseOrder) -> DecisionReport | None:
        """Close the case, or return the answer that this would have passed over."""
        with self._database.write() as connection:
            closed = cases.close_case(
                connection, order.incident_id, Resolution(order.resolution), quiet=self._quiet, now=order.at
            )
            return None if closed else _report(cases.standing(connection, order.incident_id))


def _report(standing: cases.Standing) -> DecisionReport:
    # A case closed without an answer ended as unanswered: nothing was replaced.
    answer = standing.answer or Answer.IT_WAS_US
    return DecisionReport(standing.taken, choice_of(answer), standing.leaked, standing.answered_by)
