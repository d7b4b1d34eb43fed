"""Holds alerts for at most 15 minutes when a fault on our side would send them to many customers.

Evidence of such a fault is one of:
- the registered check value of a pepper does not match ours: correct secrets would be refused;
- successful requests of (nearly) all customers stopped at the same time, and several customers are refused at addresses
  from which they were accepted within the hour before.
Wrong attempts alone are never evidence, on any number of keys: an attacker would have to send from customers' own
addresses and to stop the requests of all customers.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from statistics import median_low

from sqlmodel import Session, col, func, select, update

from octy_middleware.clock import utc, uuid7
from octy_middleware.db.models import AlertHold, Incident, KeyPair, OutcomeMinute
from octy_middleware.domain.key_checks import PEPPERS, KeyCheckResult, compare_keys, load_check_values
from octy_middleware.http.outcome import Outcome
from octy_middleware.keys.keychain import Keychain

MAX_HOLD = 900.0
"""Maximum duration of a hold, and of holding one alert, in seconds."""
_MIN_INTERVAL = timedelta(hours=24)  # from the end of a hold to the start of the next
_MIN_REFUSED_ACCOUNTS = 5  # accounts that are refused at their own addresses
_MIN_ACTIVE_ACCOUNTS = 10  # accounts that succeeded before
_MAX_INCIDENTS = 40  # newest incidents that are checked
_MAX_SOURCES = 8  # addresses of a key that are checked
_RECENT = timedelta(minutes=15)
_HOUR = 60  # minutes


class Evidence(StrEnum):
    """Why alerts are held."""

    FOREIGN_KEYS = "foreign_keys"
    SUCCESSES_STOPPED = "successes_stopped"


@dataclass(frozen=True, slots=True)
class FaultIndicators:
    """Numbers of accounts that show whether the fault is on our side.

    `refused`: accounts with an incident that are refused at addresses where they were accepted before. `before`,
    `since`: accounts whose last success was in the period before and after these refusals began. `keys_fit`: the check
    values of the peppers match.
    """

    refused: int = 0
    before: int = 0
    since: int = 0
    keys_fit: bool = True


def find_evidence(signs: FaultIndicators) -> Evidence | None:
    """Return the evidence of a fault on our side, or None."""
    if not signs.keys_fit:
        return Evidence.FOREIGN_KEYS
    if signs.refused < _MIN_REFUSED_ACCOUNTS or signs.before < _MIN_ACTIVE_ACCOUNTS:
        return None
    return Evidence.SUCCESSES_STOPPED if signs.since * 20 <= signs.before else None


def hold_alert(session: Session, peppers: Keychain, opened_at: float, waited: float, now: float) -> float:
    """Return for how many seconds an alert is held from now, 0 when it is not held. Opens a hold on evidence.

    Needs a write session. `waited`: seconds that its workflow has waited so far, so that wrong clocks never add up to
    more than `MAX_HOLD`.
    """
    hold, time = newest_hold(session), utc(now)
    if hold is not None and hold.ends_at > time and hold.released_at is None:
        due = min(hold.ends_at.timestamp(), max(opened_at, hold.began_at.timestamp()) + MAX_HOLD)
        return max(0.0, min(due - now, MAX_HOLD - waited))
    if waited >= MAX_HOLD or (hold is not None and (hold.released_at or hold.ends_at) > time - _MIN_INTERVAL):
        return 0.0
    signs = load_indicators(session, peppers, now)
    evidence = find_evidence(signs)
    if evidence is None:
        return 0.0
    session.add(
        AlertHold(id=uuid7(now), evidence=evidence, accounts=signs.refused, began_at=time, ends_at=utc(now + MAX_HOLD))
    )
    return MAX_HOLD - waited


def newest_hold(session: Session) -> AlertHold | None:
    """Return the latest hold, active or not."""
    return session.exec(select(AlertHold).order_by(col(AlertHold.began_at).desc()).limit(1)).first()


def current_hold(session: Session, now: float) -> AlertHold | None:
    """Return the active hold, or None."""
    hold = newest_hold(session)
    return hold if hold is not None and hold.released_at is None and hold.ends_at > utc(now) else None


def release_hold(session: Session, *, actor: str, reason: str, now: float) -> AlertHold | None:
    """End the active hold and return it, or None when there is none. Held alerts are then sent within a minute."""
    hold = current_hold(session, now)
    if hold is None:
        return None
    ends = (
        update(AlertHold)
        .where(col(AlertHold.id) == hold.id, col(AlertHold.released_at).is_(None))
        .values(released_at=utc(now), released_by=actor, reason=reason)
    )
    session.connection().execute(ends)
    session.refresh(hold)
    return hold


def load_indicators(session: Session, peppers: Keychain, now: float) -> FaultIndicators:
    """Return the current indicators. Cheap while few accounts have new incidents."""
    if compare_keys(PEPPERS, peppers, load_check_values(session.connection(), PEPPERS)) is KeyCheckResult.FOREIGN:
        return FaultIndicators(keys_fit=False)
    recent = select(Incident).where(col(Incident.closed_at).is_(None), col(Incident.opened_at) > utc(now) - _RECENT)
    found = session.exec(recent.order_by(col(Incident.opened_at).desc()).limit(_MAX_INCIDENTS)).all()
    by_account = {incident.account_id: incident for incident in found}
    if len(by_account) < _MIN_REFUSED_ACCOUNTS:
        return FaultIndicators()
    refused = [each.first_at for each in by_account.values() if _is_refused_at_own_address(session, each, now)]
    if len(refused) < _MIN_REFUSED_ACCOUNTS:
        return FaultIndicators(refused=len(refused))
    began = median_low(refused)
    span = timedelta(seconds=min(max(now - began.timestamp(), 30.0), MAX_HOLD))
    return FaultIndicators(
        refused=len(refused),
        before=_count_last_success(session, began - span, began),
        since=_count_last_success(session, began, utc(now) + _RECENT),
    )


def _is_refused_at_own_address(session: Session, incident: Incident, now: float) -> bool:
    """Return whether the key is refused at an address from which it was accepted within the hour before."""
    first, last = int(incident.first_at.timestamp()) // 60, int(now) // 60
    accepted = _load_sources(session, incident.public_key, Outcome.ACCEPTED, range(first - _HOUR, first + 1))
    minutes = range(max(first, last - _RECENT.seconds // 60), last + 1)
    return bool(accepted) and bool(_load_sources(session, incident.public_key, Outcome.WRONG_SECRET, minutes, accepted))


def _load_sources(
    session: Session, public_key: str, outcome: Outcome, minutes: Sequence[int], among: Iterable[str] = ()
) -> list[str]:
    """Return at most `_MAX_SOURCES` addresses with this outcome of a key in these minutes, read by the primary key."""
    query = select(OutcomeMinute.source).where(
        OutcomeMinute.public_key == public_key, col(OutcomeMinute.minute).in_(minutes), OutcomeMinute.outcome == outcome
    )
    known = list(among)
    query = query.where(col(OutcomeMinute.source).in_(known)) if known else query
    return list(session.exec(query.distinct().limit(_MAX_SOURCES)))


def _count_last_success(session: Session, begin: datetime, end: datetime) -> int:
    """Return the number of accounts whose last success was in this period."""
    last = (
        select(func.max(col(KeyPair.last_used_at)))
        .where(col(KeyPair.last_used_at) >= begin)
        .group_by(col(KeyPair.account_id))
        .having(func.max(col(KeyPair.last_used_at)) < end)
    )
    return session.exec(select(func.count()).select_from(last.subquery())).one()
