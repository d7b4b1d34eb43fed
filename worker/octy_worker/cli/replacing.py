"""What staff does to a pair outside of a case: order its replacement, or cut it.

Here: the steps in SQL, each one transaction, with their refusals and their trace. Not here: how pairs are replaced
(`octy_worker.regenerations`), what can be typed (`keys`).
"""

from dataclasses import dataclass

from octy_middleware import pairs
from octy_middleware.clock import uuid7
from octy_middleware.database import Database
from octy_middleware.models import Account, Cause, KeyPair, PairState, Regeneration
from octy_workflows.messages import Choice, StaffDecision
from sqlmodel import Session, col, select

from octy_worker import cases
from octy_worker.cli.audit import record
from octy_worker.cli.exits import RefusedError
from octy_worker.regenerations import current_pair, open_regeneration
from octy_worker.reports import account_of, open_incident_of, pair_of


@dataclass(frozen=True, slots=True)
class Ordered:
    """A replacement that is on its way. `joined`: it was before this order came."""

    account: str
    regeneration_id: str
    joined: bool
    leaked: bool
    old_public_key: str | None


@dataclass(frozen=True, slots=True)
class Revoked:
    """A pair that is cut. `changed`: by this very call."""

    public_key: str
    account: str
    changed: bool
    incident_id: str | None
    live_pairs: int


def check_staff(actor: str, reason: str) -> None:
    """Raise RefusedError unless actor and reason can be kept: the same rules as for decisions."""
    fault = StaffDecision(Choice.DISMISS, actor, reason).fault()
    if fault is not None:
        raise RefusedError(fault)


def regenerate(database: Database, reference: str, *, actor: str, reason: str, leaked: bool, now: float) -> Ordered:
    """Order a new pair for an account, or join the order that is on its way to the customer."""
    check_staff(actor, reason)
    with database.write_session() as session:
        account = account_of(session, reference)
        old = _pair_to_replace(session, account)
        _refuse_open_case(session, old)
        opened = open_regeneration(
            session,
            account.id,
            Cause.STAFF,
            old_pair_id=old.id if old else None,
            leaked=leaked,
            actor=actor,
            reason=reason,
            now=now,
        )
        old_key = old.public_key if old else None
        ordered = Ordered(account.reference, opened.regeneration_id, opened.joined, leaked, old_key)
    record(
        "regeneration_ordered",
        actor,
        reason=reason,
        regeneration=ordered.regeneration_id,
        joined=ordered.joined,
        leaked=leaked,
        old_public_key=old_key,
    )
    return ordered


def _pair_to_replace(session: Session, account: Account) -> KeyPair | None:
    """Return the pair in use. While new keys wait for collection it is the one that they replace."""
    waiting = session.exec(
        select(Regeneration).where(
            Regeneration.account_id == account.id,
            col(Regeneration.collected_at).is_(None),
            col(Regeneration.finished_at).is_(None),
        )
    ).first()
    if waiting is None:
        return current_pair(session, account.id)
    return None if waiting.old_pair_id is None else session.get_one(KeyPair, waiting.old_pair_id)


def _refuse_open_case(session: Session, pair: KeyPair | None) -> None:
    incident_id = open_incident_of(session, pair.id) if pair else None
    if incident_id is not None:
        raise RefusedError(
            f"the case {incident_id} is open on this pair",
            f"octy incidents decide {incident_id} regenerate --reason …, so that the case ends with it",
        )


def revoke(database: Database, public_key: str, *, actor: str, reason: str, now: float) -> Revoked:
    """Cut a pair at once. An open case on it hears of it in its timeline."""
    check_staff(actor, reason)
    with database.write_session() as session:
        pair = pair_of(session, public_key)
        incident_id = open_incident_of(session, pair.id)
        changed = pairs.retire(session.connection(), pair.id, now)
        if changed and incident_id is not None:
            cases.append_event(
                session.connection(),
                incident_id,
                key=f"key_revoked-{uuid7(now)}",
                actor=actor,
                what="key_revoked",
                detail={"reason": reason},
                now=now,
            )
        account = session.get_one(Account, pair.account_id)
        live = session.exec(
            select(KeyPair.id).where(
                KeyPair.account_id == account.id, col(KeyPair.state).in_([PairState.ACTIVE, PairState.RETIRING])
            )
        ).all()
        revoked = Revoked(public_key, account.reference, changed, incident_id, len(live))
    record("key_revoked", actor, reason=reason, public_key=public_key, changed=changed, incident=incident_id)
    return revoked
