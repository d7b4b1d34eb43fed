"""SQL: apply what Temporal knows of one regeneration or incident to a database that was restored from a backup.

Each function is one transaction's work, and idempotent. A pair is only ever cut here; no pair is made active that the
customer does not hold, and no secret comes back.
"""

from dataclasses import dataclass, replace

from sqlalchemy import delete, update
from sqlmodel import Session, col, select

from octy_middleware.clock import utc
from octy_middleware.db.database import mark_erased
from octy_middleware.db.models import Account, Incident, IncidentAnswer, KeyPair, Regeneration, SealedSecret, Streak
from octy_middleware.domain import key_pairs, outbox
from octy_middleware.states import Answer, IncidentState, KeyPairState, RegenerationState, Resolution
from octy_worker.domain import incidents, regenerations
from octy_worker.domain.restart_state import CHOICES
from octy_worker.maintenance.restored.known import KnownIncident, KnownRegeneration, UnprovenError
from octy_workflows.messages import RegenerationFinalState

_ANSWERS = {choice: answer for answer, choice in CHOICES.items()}
_IN_VAIN = (RegenerationState.ABANDONED, RegenerationState.SUPERSEDED)


@dataclass(frozen=True, slots=True)
class Repaired:
    """What became of one. `cut`: public keys that were retired by this. `changed`: its row was brought further.

    `lost_keys`: the customer has, or was promised, keys that this database does not know.
    """

    cut: tuple[str, ...] = ()
    changed: bool = False
    lost_keys: bool = False


def repair_regeneration(session: Session, known: KnownRegeneration, now: float) -> Repaired:
    """Cut the old pair where it was cut, and bring the row as far as it was. Raises UnprovenError."""
    row = session.get(Regeneration, known.id)
    _check_ids(session, row, known)
    old_pair_id = known.old_pair_id or None
    was_cut = known.leaked or known.ending == RegenerationFinalState.DONE
    cut = _cut(session, old_pair_id, now) if was_cut else ()
    if row is None:
        return Repaired(cut, lost_keys=not known.is_in_vain or known.leaked)
    if known.leaked and not row.leaked:
        row.leaked = True
        session.add(row)
        session.flush()
    if row.finished_at is not None:  # by an earlier run, too, whose list of lost keys is not to be forgotten
        return Repaired(cut, lost_keys=known.collected_at is not None and row.new_pair_id is None)
    return replace(_bring_further(session, row, known, now), cut=cut)


def _check_ids(session: Session, row: Regeneration | None, known: KnownRegeneration) -> None:
    """Raise UnprovenError unless regeneration, account and old pair belong together, as far as SQL knows them."""
    if row is not None:
        fits = (known.account_id, known.old_pair_id) == (row.account_id, row.old_pair_id or "")
    else:
        pair = session.get(KeyPair, known.old_pair_id) if known.old_pair_id else None
        fits = pair is None or pair.account_id == known.account_id
    if not fits:
        raise UnprovenError("its account and its old pair are not of this regeneration")


def _cut(session: Session, pair_id: str | None, now: float) -> tuple[str, ...]:
    pair = None if pair_id is None else session.get(KeyPair, pair_id)
    if pair is None or not key_pairs.retire(session.connection(), pair.id, now):
        return ()
    return (pair.public_key,)


def _bring_further(session: Session, row: Regeneration, known: KnownRegeneration, now: float) -> Repaired:
    """Take over the collection and the ending of a regeneration that is open in SQL."""
    if known.collected_at is None:
        if not known.is_in_vain:
            return Repaired()
        state = regenerations.finish(session, row.id, RegenerationState(known.ending), now)
        return Repaired(changed=state in _IN_VAIN)
    new = None if row.new_pair_id is None else session.get(KeyPair, row.new_pair_id)
    if new is None or new.state == KeyPairState.RETIRED:  # the backup is older than the pair: its digest is lost
        regenerations.finish(session, row.id, RegenerationState.ABANDONED, now)
        return Repaired(changed=True, lost_keys=row.new_pair_id is None)
    changed = _take_over_collection(session, row, known, now)
    if known.ending == RegenerationFinalState.DONE:
        regenerations.finish(session, row.id, RegenerationState.DONE, now)
    return Repaired(changed=changed or known.ending == RegenerationFinalState.DONE)


def _take_over_collection(session: Session, row: Regeneration, known: KnownRegeneration, now: float) -> bool:
    """Note that the customer has the keys, erase the sealed secret, and set the end of the old pair as it was."""
    if row.collected_at is not None or known.collected_at is None:
        return False
    connection = session.connection()
    regenerations.activate(session, row.id, now)
    session.flush()
    at = utc(known.collected_at)
    connection.execute(
        update(SealedSecret).where(col(SealedSecret.regeneration_id) == row.id).values(sealed=None, collected_at=at)
    )
    mark_erased(connection)
    connection.execute(
        update(Regeneration)
        .where(col(Regeneration.id) == row.id)
        .values(collected_at=at, state=RegenerationState.COLLECTED)
    )
    if known.overlap_end is not None and row.old_pair_id is not None and not known.leaked:
        key_pairs.begin_retiring(connection, row.old_pair_id, retire_at=utc(known.overlap_end), now=now)
    outbox.enqueue(connection, outbox.MessageKind.REGENERATION_COLLECTED, row.id, now)
    session.refresh(row)
    return True


def repair_incident(session: Session, known: KnownIncident, now: float) -> Repaired:
    """Give the answer that was given, and close the incident as it was closed."""
    incident = session.get(Incident, known.id)
    if incident is None or incident.closed_at is not None:
        return Repaired()
    before = {pair.id: pair.public_key for pair in _live(session, incident.account_id)}
    answered = False
    if known.choice is not None:
        answer = _ANSWERS[known.choice]
        result = incidents.answer_incident(session, known.id, answer, leaked=known.leaked, by=known.by, now=now)
        answered = result is not None and result.taken
    if known.resolution:
        _close(session, incident, Resolution(known.resolution), now)
    after = {pair.id for pair in _live(session, incident.account_id)}
    cut = tuple(public_key for pair_id, public_key in before.items() if pair_id not in after)
    return Repaired(cut, changed=answered or bool(known.resolution))


def _live(session: Session, account_id: str) -> list[KeyPair]:
    live = select(KeyPair).where(KeyPair.account_id == account_id, KeyPair.state != KeyPairState.RETIRED)
    return list(session.exec(live))


def _close(session: Session, incident: Incident, resolution: Resolution, now: float) -> None:
    """Close it as Temporal knows it: what SQL would rest that on may be what the backup lacks."""
    connection = session.connection()
    connection.execute(
        update(Incident)
        .where(col(Incident.id) == incident.id, col(Incident.closed_at).is_(None))
        .values(state=IncidentState.CLOSED, resolution=resolution, closed_at=utc(now))
    )
    connection.execute(delete(Streak).where(col(Streak.public_key) == incident.public_key))
    incidents.append_event(
        session,
        incident.id,
        key="closed",
        actor=incidents.SYSTEM,
        what="closed",
        detail={"resolution": str(resolution), "because": "restored backup"},
        now=now,
    )


def needs_keys(session: Session, account_id: str, after: str) -> bool:
    """Return whether nothing has been ordered for an account since a lost regeneration, and no incident will order it.

    Ids go by time, so a later regeneration has a greater one.
    """
    later = select(Regeneration.id).where(
        Regeneration.account_id == account_id, Regeneration.id > after, col(Regeneration.state).not_in(_IN_VAIN)
    )
    if session.exec(later).first() is not None:
        return False
    ordering = (
        select(Incident.id)
        .join(IncidentAnswer, col(IncidentAnswer.incident_id) == col(Incident.id))
        .where(
            Incident.account_id == account_id,
            col(Incident.closed_at).is_(None),
            IncidentAnswer.answer == Answer.NOT_US,
        )
    )
    return session.exec(ordering).first() is None


def reference_of(session: Session, account_id: str) -> str | None:
    """Return an account's reference; None for one that was opened after the backup."""
    account = session.get(Account, account_id)
    return None if account is None else account.reference
