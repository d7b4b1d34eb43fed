"""Support staff regenerates or revokes a key pair outside of an incident, each in one transaction."""

from sqlmodel import Session, col

from octy_middleware.clock import uuid7
from octy_middleware.db.models import Account, KeyPair
from octy_middleware.domain import key_pairs, outbox
from octy_middleware.states import KeyPairCause, KeyPairState, RegenerationState
from octy_worker.access.orders import Order
from octy_worker.domain import incidents
from octy_worker.domain.regenerations import current_pair, find_uncollected, finish, open_regeneration
from octy_worker.errors import RefusedError
from octy_worker.reports.key_delivery import delivery_of
from octy_worker.reports.queries import account_of, count_rows, open_incident_of, pair_of
from octy_worker.staff.acts import NewKeys
from octy_worker.staff.audit import record
from octy_worker.staff.context import StaffContext
from octy_worker.staff.operations import NoFields
from octy_worker.staff.outputs import OrderedKeys, OrderedRegeneration, RevocationResult

_LIVE = (KeyPairState.ACTIVE, KeyPairState.RETIRING)


def regenerate(
    session: Session, reference: str, *, actor: str, reason: str, leaked: bool, now: float
) -> OrderedRegeneration:
    """Order a new key pair for an account, or join the regeneration that is in progress."""
    account = account_of(session, reference)
    old = _pair_to_replace(session, account)
    _refuse_open_incident(session, old)
    opened = open_regeneration(
        session,
        account.id,
        KeyPairCause.STAFF,
        old_pair_id=old.id if old else None,
        leaked=leaked,
        actor=actor,
        reason=reason,
        now=now,
    )
    return OrderedRegeneration(
        account.reference, opened.regeneration_id, opened.joined, leaked, old.public_key if old else None
    )


def order_new_keys(context: StaffContext, order: Order, fields: NewKeys) -> OrderedKeys:
    """Regenerate, audit it, and return also how far the delivery is."""
    now = context.clock()
    with context.database.write_session() as session:
        context.use(session, order)
        ordered = regenerate(
            session, order.subject, actor=order.actor, reason=order.reason, leaked=fields.leaked, now=now
        )
        delivery = delivery_of(session, ordered.regeneration_id, now)
        done = context.keep(session, order, OrderedKeys(ordered, delivery))
    ids = {"regeneration": ordered.regeneration_id, "old_public_key": ordered.old_public_key}
    record("regeneration_ordered", order.actor, reason=order.reason, joined=ordered.joined, leaked=fields.leaked, **ids)
    return done


def _pair_to_replace(session: Session, account: Account) -> KeyPair | None:
    """Return the key pair in use; while new keys are uncollected, the one that they replace."""
    waiting = find_uncollected(session, account.id)
    if waiting is None:
        return current_pair(session, account.id)
    return None if waiting.old_pair_id is None else session.get_one(KeyPair, waiting.old_pair_id)


def _refuse_open_incident(session: Session, pair: KeyPair | None) -> None:
    incident_id = open_incident_of(session, pair.id) if pair else None
    if incident_id is not None:
        raise RefusedError(
            f"incident {incident_id} is open for this key pair → octy incidents decide {incident_id} regenerate "
            "--reason …, which closes the incident"
        )


def revoke(session: Session, public_key: str, *, actor: str, reason: str, now: float) -> RevocationResult:
    """Revoke a key pair at once. The timeline of its open incident records it; its delivery in progress ends."""
    pair = pair_of(session, public_key)
    incident_id = open_incident_of(session, pair.id)
    changed = pair.state != KeyPairState.RETIRED
    stopped = changed and _stop_delivery(session, pair, now)
    key_pairs.retire(session.connection(), pair.id, now)
    if changed and incident_id is not None:
        incidents.append_event(
            session,
            incident_id,
            key=f"key_revoked-{uuid7(now)}",
            actor=actor,
            what="key_revoked",
            detail={"reason": reason},
            now=now,
        )
    return RevocationResult(
        public_key=public_key,
        account=session.get_one(Account, pair.account_id).reference,
        changed=changed,
        delivery_stopped=stopped,
        incident_id=incident_id,
        live_pairs=count_rows(session, KeyPair, KeyPair.account_id == pair.account_id, col(KeyPair.state).in_(_LIVE)),
    )


def revoke_key_pair(context: StaffContext, order: Order, _fields: NoFields) -> RevocationResult:
    """Revoke, and write the audit line, which `octy db restored` reads after a restored backup."""
    with context.database.write_session() as session:
        context.use(session, order)
        revoked = revoke(session, order.subject, actor=order.actor, reason=order.reason, now=context.clock())
        context.keep(session, order, revoked)
    ids = {"public_key": revoked.public_key, "incident": revoked.incident_id}
    record("key_revoked", order.actor, reason=order.reason, changed=revoked.changed, **ids)
    return revoked


def _stop_delivery(session: Session, pair: KeyPair, now: float) -> bool:
    """End the regeneration whose uncollected pair this is: its link would show keys that no longer work.

    Waiting incidents can be answered again (`regenerations.finish`); its workflow ends by the same message as when a
    later one supersedes it, and reads the state in SQL.
    """
    waiting = find_uncollected(session, pair.account_id)
    if waiting is None or waiting.new_pair_id != pair.id:
        return False
    finish(session, waiting.id, RegenerationState.ABANDONED, now)
    outbox.enqueue(session.connection(), outbox.MessageKind.REGENERATION_SUPERSEDED, waiting.id, now)
    return True
