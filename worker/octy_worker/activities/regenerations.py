"""What `octy_workflows` asks of a regeneration, done in SQL. Every activity may be called twice.

Here: translation of orders into steps of `regenerations`. Not here: SQL of its own, mail (`mail`).
"""

from sqlmodel import Session
from temporalio import activity
from temporalio.exceptions import ApplicationError

from octy_middleware.db.database import Database
from octy_middleware.db.models import Regeneration
from octy_middleware.keys.secret import KeyHasher
from octy_middleware.states import IncidentState, RegenerationState
from octy_worker.crypto.sealed_box import Sealer
from octy_worker.domain import incidents, regenerations, restart_state
from octy_worker.domain.missing_subject import missing_subject_error
from octy_workflows.messages import (
    BeginOverlapInput,
    FinishRegenerationInput,
    LoadFactsInput,
    RecordRegenerationEventInput,
    RegenerationFacts,
    RegenerationStepInput,
    RenewLinkInput,
)


def _check(session: Session, regeneration_id: str) -> None:
    """Raise what is tried again where the row is missing: another worker may have it."""
    if session.get(Regeneration, regeneration_id) is None:
        raise missing_subject_error("regeneration", regeneration_id)


class RegenerationActivities:
    """The activities about key pairs; `reveal_link_ttl` is a link's life in seconds."""

    def __init__(self, database: Database, hasher: KeyHasher, sealer: Sealer, *, reveal_link_ttl: float) -> None:
        self._database = database
        self._hasher = hasher
        self._sealer = sealer
        self._reveal_life = reveal_link_ttl

    @activity.defn(name="look_at_regeneration", no_thread_cancel_exception=True)
    def look_at_regeneration(self, look: LoadFactsInput) -> RegenerationFacts:
        """Return what SQL says of the regeneration."""
        with self._database.read_session() as session:
            found = restart_state.regeneration_facts(session, look.subject_id)
        if found is None:
            raise missing_subject_error("regeneration", look.subject_id)
        return found

    @activity.defn(name="issue_pair", no_thread_cancel_exception=True)
    def issue_pair(self, step: RegenerationStepInput) -> None:
        """Make the new pair, pending, its secret sealed."""
        with self._database.write_session() as session:
            _check(session, step.regeneration_id)
            regenerations.issue_pair(
                session, self._hasher, self._sealer, step.regeneration_id, life=self._reveal_life, now=step.at
            )

    @activity.defn(name="prove_pair", no_thread_cancel_exception=True)
    def prove_pair(self, step: RegenerationStepInput) -> None:
        """Verify the unsealed secret against the stored digest with the verifier that requests meet."""
        with self._database.read_session() as session:
            _check(session, step.regeneration_id)
            if not regenerations.verify_new_pair(session, self._hasher, self._sealer, step.regeneration_id):
                raise ApplicationError("the new pair does not verify", step.regeneration_id, non_retryable=True)

    @activity.defn(name="activate_pair", no_thread_cancel_exception=True)
    def activate_pair(self, step: RegenerationStepInput) -> None:
        """Let the new pair authenticate; a leaked old pair is retired in the same transaction."""
        with self._database.write_session() as session:
            _check(session, step.regeneration_id)
            regenerations.activate(session, step.regeneration_id, step.at)

    @activity.defn(name="renew_link", no_thread_cancel_exception=True)
    def renew_link(self, order: RenewLinkInput) -> int:
        """Give the uncollected secret a fresh link life; return the generation, or 0 when nothing is left."""
        with self._database.write_session() as session:
            _check(session, order.regeneration_id)
            return regenerations.renew_link(
                session, order.regeneration_id, order.generation, life=self._reveal_life, now=order.at
            )

    @activity.defn(name="begin_overlap", no_thread_cancel_exception=True)
    def begin_overlap(self, order: BeginOverlapInput) -> float | None:
        """Mark the old pair as retiring; return its end, the order's time when it has ended, None when nothing may."""
        with self._database.write_session() as session:
            _check(session, order.regeneration_id)
            return regenerations.begin_overlap(session, order.regeneration_id, overlap=order.overlap, now=order.at)

    @activity.defn(name="count_old_uses", no_thread_cancel_exception=True)
    def count_old_uses(self, step: RegenerationStepInput) -> int:
        """Return how often the old pair was accepted since the new secret was collected."""
        with self._database.read_session() as session:
            view = regenerations.load_regeneration(session, step.regeneration_id)
            if view is None:
                raise missing_subject_error("regeneration", step.regeneration_id)
            return sum(use.count for use in regenerations.old_uses(session, view))

    @activity.defn(name="retire_old_pair", no_thread_cancel_exception=True)
    def retire_old_pair(self, step: RegenerationStepInput) -> bool:
        """Cut the old pair; False when SQL does not say that its time is over."""
        with self._database.write_session() as session:
            _check(session, step.regeneration_id)
            return regenerations.retire_old(session, step.regeneration_id, step.at)

    @activity.defn(name="finish_regeneration", no_thread_cancel_exception=True)
    def finish_regeneration(self, order: FinishRegenerationInput) -> str:
        """Finish the row, erase an uncollected secret, tell the waiting cases; return the state that stands."""
        with self._database.write_session() as session:
            _check(session, order.regeneration_id)
            state = RegenerationState(order.state)
            return str(regenerations.finish_as_ordered(session, order.regeneration_id, state, order.at))

    @activity.defn(name="note_regeneration", no_thread_cancel_exception=True)
    def note_regeneration(self, note: RecordRegenerationEventInput) -> None:
        """Append the event to the timelines of the cases that wait for this regeneration, once each."""
        with self._database.write_session() as session:
            _check(session, note.regeneration_id)
            connection = session.connection()
            for incident_id in regenerations.waiting_incidents(connection, note.regeneration_id):
                new = incidents.append_event(
                    connection,
                    incident_id,
                    key=f"{note.regeneration_id}/{note.key}",
                    actor=incidents.SYSTEM,
                    what=note.what,
                    detail=note.detail,
                    now=note.at,
                )
                if new and note.needs_staff:
                    incidents.set_state(connection, incident_id, IncidentState.NEEDS_STAFF)
                if new and note.staff_done:
                    incidents.clear_needs_staff(connection, incident_id)
