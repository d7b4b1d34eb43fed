"""Regenerations in SQL: from ordering a new key pair to the end of the old one. Every step is idempotent.

When a step is due is decided by `octy_workflows.regeneration`.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, update
from sqlmodel import Session, col, select

from octy_middleware.clock import utc, uuid7
from octy_middleware.db.database import mark_erased
from octy_middleware.db.models import Account, Incident, KeyPair, Regeneration, SealedSecret
from octy_middleware.domain import key_pairs, outbox, webhook_events
from octy_middleware.domain.webhook_events import WebhookEvent
from octy_middleware.http.credentials import Secret
from octy_middleware.keys.secret import KeyHasher, make_key_pair, row_binding
from octy_middleware.states import KeyPairCause, KeyPairState, RegenerationState
from octy_worker.audit import repository as audit
from octy_worker.crypto.sealed_box import Sealer
from octy_worker.domain import incidents
from octy_worker.domain.held_pair import held_pair_id
from octy_worker.domain.usage import SourceUse, uses_by_source

IN_VAIN = (RegenerationState.ABANDONED, RegenerationState.SUPERSEDED)
"""Final states without new keys: the old key pair stays as it is."""
_ROUNDING = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class RegenerationView:
    """What pages, mails and support staff are shown of a regeneration."""

    regeneration: Regeneration
    sealed: SealedSecret | None
    account: Account
    new_pair: KeyPair | None
    old_pair: KeyPair | None


@dataclass(frozen=True, slots=True)
class NewKeys:
    """What the customer is shown once."""

    public_key: str
    secret: Secret


@dataclass(frozen=True, slots=True)
class OpenedRegeneration:
    """The regeneration of an order, and whether it was in progress before."""

    regeneration_id: str
    joined: bool


def load_regeneration(session: Session, regeneration_id: str) -> RegenerationView | None:
    """Return the regeneration, or None."""
    regeneration = session.get(Regeneration, regeneration_id)
    if regeneration is None:
        return None
    return RegenerationView(
        regeneration=regeneration,
        sealed=session.get(SealedSecret, regeneration_id),
        account=session.get_one(Account, regeneration.account_id),
        new_pair=_pair(session, regeneration.new_pair_id),
        old_pair=_pair(session, regeneration.old_pair_id),
    )


def _pair(session: Session, pair_id: str | None) -> KeyPair | None:
    return None if pair_id is None else session.get(KeyPair, pair_id)


def open_regeneration(
    session: Session,
    account_id: str,
    cause: KeyPairCause,
    *,
    old_pair_id: str | None,
    leaked: bool,
    actor: str,
    reason: str = "",
    now: float,
) -> OpenedRegeneration:
    """Order a new key pair for an account; its workflow is started through the outbox.

    A second order for the same old pair joins the first one, even after its keys were collected: a pair is replaced
    once. An order against the very pair that waits for its collection supersedes: the waiting secret is erased, its
    link ends, and the new order replaces what the first one was to replace. If either of the two was for a leak, that
    pair is retired with this order: the customer has no other secret that could have leaked.
    """
    held = held_pair_id(session, old_pair_id)
    waiting = find_uncollected(session, account_id)
    if waiting is None or old_pair_id is None or waiting.new_pair_id != old_pair_id:
        current = _first_issue(waiting) if held is None else replacement_of(session, held)
        if current is not None:
            _record_leak(session, current, leaked=leaked, now=now)
            return OpenedRegeneration(current.id, joined=True)
    if waiting is not None:
        leaked = leaked or (waiting.leaked and waiting.old_pair_id == held)
        _supersede(session, waiting, now)
    regeneration = Regeneration(
        id=uuid7(now),
        account_id=account_id,
        cause=cause,
        actor=actor,
        reason=reason,
        leaked=leaked,
        old_pair_id=held,
        opened_at=utc(now),
    )
    session.add(regeneration)
    session.flush()
    if leaked and held is not None:
        key_pairs.retire(session.connection(), held, now)
    detail = {"leaked": leaked, "replaces": held is not None}
    outbox.enqueue(session.connection(), outbox.MessageKind.REGENERATION_OPENED, regeneration.id, now, detail)
    facts = {"account": account_id, "old_pair": held, "cause": cause, "leaked": leaked, "reason": reason}
    audit.append(session, "keys.ordered", actor=actor, subject=regeneration.id, detail=facts, now=now)
    return OpenedRegeneration(regeneration.id, joined=False)


def find_uncollected(session: Session, account_id: str) -> Regeneration | None:
    """Return the account's regeneration whose keys are not collected yet; there is at most one."""
    return session.exec(
        select(Regeneration).where(
            Regeneration.account_id == account_id,
            col(Regeneration.collected_at).is_(None),
            col(Regeneration.finished_at).is_(None),
        )
    ).first()


def _first_issue(waiting: Regeneration | None) -> Regeneration | None:
    return waiting if waiting is not None and waiting.old_pair_id is None else None


def replacement_of(session: Session, old_pair_id: str) -> Regeneration | None:
    """Return the regeneration that replaces or has replaced this key pair."""
    return session.exec(
        select(Regeneration).where(Regeneration.old_pair_id == old_pair_id, col(Regeneration.state).not_in(IN_VAIN))
    ).first()


def _record_leak(session: Session, regeneration: Regeneration, *, leaked: bool, now: float) -> None:
    if leaked and regeneration.old_pair_id is not None:
        regeneration.leaked = True
        session.add(regeneration)
        key_pairs.retire(session.connection(), regeneration.old_pair_id, now)


def _supersede(session: Session, regeneration: Regeneration, now: float) -> None:
    """End one whose new key pair was attacked, or is not needed, before it was collected."""
    finish(session, regeneration.id, RegenerationState.SUPERSEDED, now)
    outbox.enqueue(session.connection(), outbox.MessageKind.REGENERATION_SUPERSEDED, regeneration.id, now)
    session.refresh(regeneration)


def issue_key_pair(
    session: Session, hasher: KeyHasher, sealer: Sealer, regeneration_id: str, *, ttl: float, now: float
) -> None:
    """Create the new key pair, pending, with its secret sealed until it is collected."""
    regeneration = session.get_one(Regeneration, regeneration_id)
    if regeneration.new_pair_id is not None or regeneration.finished_at is not None:
        return
    new = make_key_pair()
    regeneration.new_pair_id = uuid7(now)
    key_pairs.insert_key_pair(
        session.connection(),
        regeneration.new_pair_id,
        account_id=regeneration.account_id,
        public_key=new.public_key,
        secret_digest=hasher.digest(new.secret, row_binding(regeneration.new_pair_id, new.public_key)),
        cause=regeneration.cause,
        now=now,
    )
    session.add(regeneration)
    session.add(
        SealedSecret(
            regeneration_id=regeneration_id,
            sealed=sealer.seal(new.secret.reveal(), regeneration_id),
            expires_at=utc(now) + timedelta(seconds=ttl),
        )
    )


def verify_new_pair(session: Session, hasher: KeyHasher, sealer: Sealer, regeneration_id: str) -> bool:
    """Return whether the sealed secret verifies against the new key pair, by the verifier of requests.

    True too when nothing is sealed any more: what was collected had been verified before it was sent.
    """
    regeneration, sealed = session.get_one(Regeneration, regeneration_id), session.get(SealedSecret, regeneration_id)
    if regeneration.finished_at is not None or (sealed is not None and sealed.sealed is None):
        return True
    pair = _pair(session, regeneration.new_pair_id)
    if pair is None or sealed is None or sealed.sealed is None:
        return False
    secret = Secret(sealer.open(sealed.sealed, regeneration_id))
    return hasher.verify(secret, pair.secret_digest, row_binding(pair.id, pair.public_key))


def activate(session: Session, regeneration_id: str, now: float) -> None:
    """Let the new pair authenticate; a leaked old pair is retired in the same transaction."""
    regeneration = session.get_one(Regeneration, regeneration_id)
    if regeneration.new_pair_id is None or regeneration.finished_at is not None:
        return
    connection = session.connection()
    key_pairs.activate(connection, regeneration.new_pair_id, now)
    if regeneration.old_pair_id is not None:
        key_pairs.set_successor(connection, regeneration.old_pair_id, regeneration.new_pair_id)
        if regeneration.leaked:
            key_pairs.retire(connection, regeneration.old_pair_id, now)
    if regeneration.state == RegenerationState.OPEN:
        _audit(session, "keys.activated", regeneration, now)
        regeneration.state = RegenerationState.SENT
        webhook_events.enqueue_keys_delivered(connection, WebhookEvent.KEYS_READY, regeneration_id, now)
    session.add(regeneration)


def renew_link(session: Session, regeneration_id: str, generation: int, *, ttl: float, now: float) -> int:
    """Give an uncollected secret a new link of at least this generation; older links stop working.

    Return the generation that now counts, or 0 when there is nothing left to renew.
    """
    sealed = session.get(SealedSecret, regeneration_id)  # none when it ended before a pair was issued
    if sealed is None or sealed.sealed is None:
        return 0
    if sealed.generation < generation:
        sealed.generation = generation
        sealed.expires_at = utc(now) + timedelta(seconds=ttl)
        session.add(sealed)
    return sealed.generation


def collect(session: Session, sealer: Sealer, regeneration_id: str, generation: int, now: float) -> NewKeys | None:
    """Return the new keys once: one conditional UPDATE decides, and erases the sealed secret.

    None when they were collected before, the link has expired, a newer one or another pair took its place, or the new
    pair was retired because of a leak.
    """
    view = load_regeneration(session, regeneration_id)
    if view is None or view.sealed is None or view.sealed.sealed is None:
        return None
    if view.new_pair is None or view.new_pair.state == KeyPairState.RETIRED:
        return None
    keys = NewKeys(view.new_pair.public_key, Secret(sealer.open(view.sealed.sealed, regeneration_id)))
    fresh = (col(SealedSecret.generation) == generation, col(SealedSecret.expires_at) > utc(now))
    return keys if _take(session, regeneration_id, *fresh, now=now) else None


def record_mailed(session: Session, regeneration_id: str, now: float) -> bool:
    """Count a secret as collected because its mail was accepted. True when this call did it.

    It does not matter which of its mails that was: the customer has the secret. Nothing is done when it was collected
    before, or when its regeneration ended or its pair was retired while the mail was sent.
    """
    view = load_regeneration(session, regeneration_id)
    if view is None or view.new_pair is None or view.new_pair.state == KeyPairState.RETIRED:
        return False
    return _take(session, regeneration_id, now=now)


def _take(session: Session, regeneration_id: str, *conditions: ColumnElement[bool], now: float) -> bool:
    """Decide by one conditional UPDATE who collects; erase the sealed secret, and notify the workflow."""
    connection = session.connection()
    erased = connection.execute(
        update(SealedSecret)
        .where(col(SealedSecret.regeneration_id) == regeneration_id, col(SealedSecret.sealed).is_not(None), *conditions)
        .values(sealed=None, collected_at=utc(now))
    )
    if erased.rowcount != 1:
        return False
    mark_erased(connection)
    connection.execute(
        update(Regeneration)
        .where(col(Regeneration.id) == regeneration_id)
        .values(collected_at=utc(now), state=RegenerationState.COLLECTED)
    )
    _audit(session, "keys.collected", session.get_one(Regeneration, regeneration_id), now, actor=incidents.CUSTOMER)
    outbox.enqueue(connection, outbox.MessageKind.REGENERATION_COLLECTED, regeneration_id, now)
    webhook_events.enqueue_keys_delivered(connection, WebhookEvent.KEYS_COLLECTED, regeneration_id, now)
    return True


def begin_overlap(session: Session, regeneration_id: str, *, overlap: float, now: float) -> float | None:
    """Keep the old key pair valid for `overlap` seconds after the collection, as the mail promised.

    Return its end in Unix seconds: one that is set already stays; `now` when there is no old pair that still works.
    None, with nothing done, when the new keys were not collected.
    """
    regeneration = session.get_one(Regeneration, regeneration_id)
    old_pair_id = regeneration.old_pair_id
    if regeneration.collected_at is None:
        return None
    if old_pair_id is None:
        return now
    retire_at = regeneration.collected_at + timedelta(seconds=overlap)
    key_pairs.begin_retiring(session.connection(), old_pair_id, retire_at=retire_at, now=now)
    old = session.get_one(KeyPair, old_pair_id)
    return old.retire_at.timestamp() if old.state == KeyPairState.RETIRING and old.retire_at is not None else now


def old_uses(session: Session, view: RegenerationView) -> tuple[SourceUse, ...]:
    """Return the sources that used the old key pair after the new one was collected, most frequent first.

    Nothing before the collection, and nothing when the old pair is not in its overlap. Counts are by the minute: that
    of the collection itself is left out, because it has requests from just before.
    """
    collected_at, old = view.regeneration.collected_at, view.old_pair
    if collected_at is None or old is None or old.state != KeyPairState.RETIRING:
        return ()
    return uses_by_source(session, old.public_key, int(collected_at.timestamp()) // 60 + 1)


def retire_old(session: Session, regeneration_id: str, now: float) -> bool:
    """Retire the old key pair after its overlap. False when it stays valid. One that leaked was retired before.

    An overlap that ends within a second counts as over: clocks round.
    """
    regeneration = session.get_one(Regeneration, regeneration_id)
    if regeneration.collected_at is None:
        return False
    if regeneration.old_pair_id is None:
        return True
    old = session.get_one(KeyPair, regeneration.old_pair_id)
    if old.state == KeyPairState.RETIRED:
        return True
    if old.retire_at is None or old.retire_at > utc(now) + _ROUNDING:
        return False
    key_pairs.retire(session.connection(), regeneration.old_pair_id, now)
    _audit(session, "keys.retired", regeneration, now)
    return True


def finish_as_ordered(
    session: Session, regeneration_id: str, state: RegenerationState, now: float
) -> RegenerationState:
    """End a regeneration as its workflow orders it, where SQL holds what that rests on; return its state then.

    `done` rests on the collection, `abandoned` on its absence; only another order supersedes.
    """
    regeneration = session.get_one(Regeneration, regeneration_id)
    collected = regeneration.collected_at is not None
    fits = state is RegenerationState.DONE if collected else state is RegenerationState.ABANDONED
    if regeneration.finished_at is None and not fits:
        return RegenerationState(regeneration.state)
    return finish(session, regeneration_id, state, now)


def finish(session: Session, regeneration_id: str, state: RegenerationState, now: float) -> RegenerationState:
    """End a regeneration, erase an uncollected secret, and notify the incidents that wait for it, once.

    Return its state then: `COLLECTED`, with nothing done, when the customer was faster; or the final state that it
    already has. The new pair of one that ends uncollected is retired, the old pair is not touched; after an abandoned
    one the waiting incidents can be answered again.
    """
    columns = (
        Regeneration.state,
        Regeneration.finished_at,
        Regeneration.collected_at,
        Regeneration.new_pair_id,
        Regeneration.old_pair_id,
    )
    connection = session.connection()
    query = select(*map(col, columns)).where(Regeneration.id == regeneration_id)
    regeneration: Any = connection.execute(query).one()
    if regeneration.finished_at is not None:
        return RegenerationState(regeneration.state)
    collected = regeneration.collected_at is not None
    if collected and state is not RegenerationState.DONE:
        return RegenerationState.COLLECTED
    connection.execute(
        update(Regeneration).where(col(Regeneration.id) == regeneration_id).values(state=state, finished_at=utc(now))
    )
    connection.execute(
        update(SealedSecret).where(col(SealedSecret.regeneration_id) == regeneration_id).values(sealed=None)
    )
    mark_erased(connection)
    detail = {"state": str(state), "collected": collected}
    audit.append(session, "keys.finished", actor=incidents.SYSTEM, subject=regeneration_id, detail=detail, now=now)
    if not collected and regeneration.new_pair_id is not None:
        key_pairs.retire(connection, regeneration.new_pair_id, now)
        if regeneration.old_pair_id is not None:
            key_pairs.clear_successor(connection, regeneration.old_pair_id, regeneration.new_pair_id)
    for incident_id in waiting_incidents(session, regeneration_id):
        if state is RegenerationState.ABANDONED:
            incidents.reopen_answer(session, incident_id)
        _notify_finished(session, incident_id, regeneration_id, state, now)
    return state


def _audit(
    session: Session, action: str, regeneration: Regeneration, now: float, *, actor: str = incidents.SYSTEM
) -> None:
    """Append a step of a key pair's life to the audit log."""
    detail = {
        "account": regeneration.account_id,
        "new_pair": regeneration.new_pair_id,
        "old_pair": regeneration.old_pair_id,
    }
    audit.append(session, action, actor=actor, subject=regeneration.id, detail=detail, now=now)


def notify_if_finished(session: Session, regeneration_id: str, incident_id: str, now: float) -> None:
    """Notify an incident that joined a regeneration after its end."""
    regeneration = session.get_one(Regeneration, regeneration_id)
    if regeneration.finished_at is not None:
        _notify_finished(session, incident_id, regeneration_id, regeneration.state, now)


def _notify_finished(session: Session, incident_id: str, regeneration_id: str, state: str, now: float) -> None:
    detail = {"regeneration_id": regeneration_id, "state": str(state)}
    outbox.enqueue(session.connection(), outbox.MessageKind.REGENERATION_FINISHED, incident_id, now, detail)


def waiting_incidents(session: Session, regeneration_id: str) -> list[str]:
    """Return the ids of the open incidents that wait for this regeneration."""
    waiting = select(Incident.id).where(Incident.regeneration_id == regeneration_id, col(Incident.closed_at).is_(None))
    return list(session.exec(waiting))


def current_pair(session: Session, account_id: str) -> KeyPair | None:
    """Return the account's newest usable key pair."""
    return session.exec(
        select(KeyPair)
        .where(KeyPair.account_id == account_id, KeyPair.state == KeyPairState.ACTIVE)
        .order_by(col(KeyPair.created_at).desc(), col(KeyPair.id).desc())
    ).first()
