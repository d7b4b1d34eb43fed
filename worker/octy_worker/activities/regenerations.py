"""Activities of regenerations: translation of inputs to `octy_worker.domain.regenerations`. All are idempotent."""

from collections.abc import Iterator
from contextlib import contextmanager

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
    """Raise a retryable error when the row is missing: another worker's database may have it."""
    if session.get(Regeneration, regeneration_id) is None:
        raise missing_subject_error("regeneration", regeneration_id)


class RegenerationActivities:
    """Activities of regenerations; `reveal_link_ttl` in seconds."""

    def __init__(self, database: Database, hasher: KeyHasher, sealer: Sealer, *, reveal_link_ttl: float) -> None:
        self._database = database
        self._hasher = hasher
        self._sealer = sealer
        self._reveal_link_ttl = reveal_link_ttl

    @contextmanager
    def _writing(self, regeneration_id: str) -> Iterator[Session]:
        """Open a write session for a regeneration that is in this database."""
        with self._database.write_session() as session:
            _check(session, regeneration_id)
            yield session

    @activity.defn(name="load_regeneration_facts", no_thread_cancel_exception=True)
    def load_regeneration_facts(self, step: LoadFactsInput) -> RegenerationFacts:
        """Return what the database says about the regeneration."""
        with self._database.read_session() as session:
            found = restart_state.regeneration_facts(session, step.subject_id)
        if found is None:
            raise missing_subject_error("regeneration", step.subject_id)
        return found

    @activity.defn(name="issue_key_pair", no_thread_cancel_exception=True)
    def issue_key_pair(self, step: RegenerationStepInput) -> None:
        """Create the new key pair, pending, with its secret sealed."""
        with self._writing(step.regeneration_id) as session:
            regenerations.issue_key_pair(
                session, self._hasher, self._sealer, step.regeneration_id, ttl=self._reveal_link_ttl, now=step.at
            )

    @activity.defn(name="verify_key_pair", no_thread_cancel_exception=True)
    def verify_key_pair(self, step: RegenerationStepInput) -> None:
        """Verify the unsealed secret against the stored digest, with the code that verifies requests."""
        with self._database.read_session() as session:
            _check(session, step.regeneration_id)
            if not regenerations.verify_new_pair(session, self._hasher, self._sealer, step.regeneration_id):
                raise ApplicationError("the new key pair can't be verified", step.regeneration_id, non_retryable=True)

    @activity.defn(name="activate_key_pair", no_thread_cancel_exception=True)
    def activate_key_pair(self, step: RegenerationStepInput) -> None:
        """Accept the new key pair; a leaked old one is retired in the same transaction."""
        with self._writing(step.regeneration_id) as session:
            regenerations.activate(session, step.regeneration_id, step.at)

    @activity.defn(name="renew_link", no_thread_cancel_exception=True)
    def renew_link(self, step: RenewLinkInput) -> int:
        """Create a new link to the uncollected secret; return its generation, or 0 when there is nothing to renew."""
        with self._writing(step.regeneration_id) as session:
            return regenerations.renew_link(
                session, step.regeneration_id, step.generation, ttl=self._reveal_link_ttl, now=step.at
            )

    @activity.defn(name="begin_overlap", no_thread_cancel_exception=True)
    def begin_overlap(self, step: BeginOverlapInput) -> float | None:
        """Set the old key pair to retiring; return its end, `at` when it is retired, None without a collection."""
        with self._writing(step.regeneration_id) as session:
            return regenerations.begin_overlap(session, step.regeneration_id, overlap=step.overlap, now=step.at)

    @activity.defn(name="count_old_key_uses", no_thread_cancel_exception=True)
    def count_old_key_uses(self, step: RegenerationStepInput) -> int:
        """Return how often the old key pair was accepted since the new secret was collected."""
        with self._database.read_session() as session:
            view = regenerations.load_regeneration(session, step.regeneration_id)
            if view is None:
                raise missing_subject_error("regeneration", step.regeneration_id)
            return sum(use.count for use in regenerations.old_uses(session, view))

    @activity.defn(name="retire_old_key_pair", no_thread_cancel_exception=True)
    def retire_old_key_pair(self, step: RegenerationStepInput) -> bool:
        """Retire the old key pair; return False when the database says that it is too early."""
        with self._writing(step.regeneration_id) as session:
            return regenerations.retire_old(session, step.regeneration_id, step.at)

    @activity.defn(name="finish_regeneration", no_thread_cancel_exception=True)
    def finish_regeneration(self, step: FinishRegenerationInput) -> str:
        """Finish the row, erase an uncollected secret, signal the waiting incidents; return its state."""
        with self._writing(step.regeneration_id) as session:
            state = RegenerationState(step.state)
            return str(regenerations.finish_as_ordered(session, step.regeneration_id, state, step.at))

    @activity.defn(name="record_regeneration_event", no_thread_cancel_exception=True)
    def record_regeneration_event(self, step: RecordRegenerationEventInput) -> None:
        """Add the event to the timelines of the incidents that wait for this regeneration, once each."""
        with self._writing(step.regeneration_id) as session:
            for incident_id in regenerations.waiting_incidents(session, step.regeneration_id):
                new = incidents.append_event(
                    session,
                    incident_id,
                    key=f"{step.regeneration_id}/{step.key}",
                    actor=incidents.SYSTEM,
                    what=step.event,
                    detail=step.detail,
                    now=step.at,
                )
                if new and step.needs_staff:
                    incidents.set_state(session, incident_id, IncidentState.NEEDS_STAFF)
                if new and step.staff_not_needed:
                    incidents.clear_needs_staff(session, incident_id)
