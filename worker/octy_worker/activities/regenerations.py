"""What `octy_workflows` asks of a regeneration, done in SQL. Every activity may be called twice.

Here: translation of orders into steps of `regenerations`. Not here: SQL of its own, mail (`mail`).
"""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import NoResultFound
from temporalio import activity
from temporalio.exceptions import ApplicationError

from octy_middleware.database import Database
from octy_middleware.keys import KeyHasher
from octy_middleware.states import IncidentState, RegenerationState
from octy_worker import cases, regenerations
from octy_worker.sealed import Sealer
from octy_workflows.messages import FinishOrder, LinkOrder, OverlapOrder, RegenerationNote, Step


@contextmanager
def _known(regeneration_id: str) -> Iterator[None]:
    """Fail for good where no such row is: trying again would bring none."""
    try:
        yield
    except NoResultFound:
        raise ApplicationError("there is no such regeneration", regeneration_id, non_retryable=True) from None


class RegenerationActivities:
    """The activities about key pairs; `reveal_life` is a link's life in seconds."""

    def __init__(self, database: Database, hasher: KeyHasher, sealer: Sealer, *, reveal_life: float) -> None:
        self._database = database
        self._hasher = hasher
        self._sealer = sealer
        self._reveal_life = reveal_life

    @activity.defn(name="issue_pair", no_thread_cancel_exception=True)
    def issue_pair(self, step: Step) -> None:
        """Make the new pair, pending, its secret sealed."""
        with _known(step.regeneration_id), self._database.write_session() as session:
            regenerations.issue(
                session, self._hasher, self._sealer, step.regeneration_id, life=self._reveal_life, now=step.at
            )

    @activity.defn(name="prove_pair", no_thread_cancel_exception=True)
    def prove_pair(self, step: Step) -> None:
        """Verify the unsealed secret against the stored digest with the verifier that requests meet."""
        with self._database.read_session() as session:
            if not regenerations.prove(session, self._hasher, self._sealer, step.regeneration_id):
                raise ApplicationError("the new pair does not verify", step.regeneration_id, non_retryable=True)

    @activity.defn(name="activate_pair", no_thread_cancel_exception=True)
    def activate_pair(self, step: Step) -> None:
        """Let the new pair authenticate; a leaked old pair is retired in the same transaction."""
        with _known(step.regeneration_id), self._database.write_session() as session:
            regenerations.activate(session, step.regeneration_id, step.at)

    @activity.defn(name="renew_link", no_thread_cancel_exception=True)
    def renew_link(self, order: LinkOrder) -> int:
        """Give the uncollected secret a fresh link life; return the generation, or 0 when nothing is left."""
        with self._database.write_session() as session:
            return regenerations.renew(
                session, order.regeneration_id, order.generation, life=self._reveal_life, now=order.at
            )

    @activity.defn(name="begin_overlap", no_thread_cancel_exception=True)
    def begin_overlap(self, order: OverlapOrder) -> float:
        """Mark the old pair as retiring; return its end, or the order's time when it has ended already."""
        with _known(order.regeneration_id), self._database.write_session() as session:
            return regenerations.begin_overlap(session, order.regeneration_id, overlap=order.overlap, now=order.at)

    @activity.defn(name="count_old_uses", no_thread_cancel_exception=True)
    def count_old_uses(self, step: Step) -> int:
        """Return how often the old pair was accepted since the new secret was collected."""
        with self._database.read_session() as session:
            view = regenerations.load_regeneration(session, step.regeneration_id)
            return 0 if view is None else sum(use.count for use in regenerations.old_uses(session, view))

    @activity.defn(name="retire_old_pair", no_thread_cancel_exception=True)
    def retire_old_pair(self, step: Step) -> None:
        """Cut the old pair."""
        with _known(step.regeneration_id), self._database.write_session() as session:
            regenerations.retire_old(session, step.regeneration_id, step.at)

    @activity.defn(name="finish_regeneration", no_thread_cancel_exception=True)
    def finish_regeneration(self, order: FinishOrder) -> str:
        """Finish the row, erase an uncollected secret, tell the waiting cases; return the state that stands."""
        with _known(order.regeneration_id), self._database.write() as connection:
            return str(
                regenerations.finish(connection, order.regeneration_id, RegenerationState(order.state), order.at)
            )

    @activity.defn(name="note_regeneration", no_thread_cancel_exception=True)
    def note_regeneration(self, note: RegenerationNote) -> None:
        """Append the event to the timelines of the cases that wait for this regeneration, once each."""
        with self._database.write() as connection:
            for incident_id in regenerations.waiting_cases(connection, note.regeneration_id):
                new = cases.append_event(
                    connection,
                    incident_id,
                    key=f"{note.regeneration_id}/{note.key}",
                    actor=cases.SYSTEM,
                    what=note.what,
                    detail=note.detail,
                    now=note.at,
                )
                if new and note.needs_staff:
                    cases.set_state(connection, incident_id, IncidentState.NEEDS_STAFF)
                if new and note.staff_done:
                    cases.relieve_staff(connection, incident_id)
