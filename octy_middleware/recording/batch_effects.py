"""What a batch of events changes, worked out before its transaction begins. Pure: no I/O."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from octy_middleware.equal_work import DECOY_KEY, SAME_COST_AS_WRONG_SECRET, decoy_network
from octy_middleware.http.event import UNDESCRIBED, AuthEvent
from octy_middleware.http.outcome import Outcome
from octy_middleware.recording.counters import AttemptGroups, Counts
from octy_middleware.recording.streak import ALL_NETWORKS, AttemptResult

_COUNTING = frozenset(outcome for outcome in Outcome if outcome.counts)
_LIKE_FAILURES = _COUNTING | SAME_COST_AS_WRONG_SECRET


@dataclass(frozen=True, slots=True)
class BatchEffects:
    """What a batch changes."""

    counts: Counts
    attempts: AttemptGroups
    failing: Mapping[str, Sequence[AttemptResult]]  # of keys with a failure, by public key in sorted order
    ended: AbstractSet[tuple[str, str]]  # (public key, network) of streaks that a success ended
    accepted: Sequence[AuthEvent]
    exposed: Mapping[str, AuthEvent]
    failed: Sequence[AuthEvent]  # counted failures, and outcomes of the same cost
    keys: AbstractSet[str]  # whose streaks or key pairs change


def fold_batch(batch: Sequence[AuthEvent]) -> BatchEffects:
    """Return what these events change, in the order in which they were decided."""
    # Accepted requests of one header and second are one shared event object in the batch: process it once.
    events = {id(event): event for event in batch}
    uses = Counter(map(id, batch)) if len(events) < len(batch) else None
    counts: defaultdict[tuple[str, int, str, str], int] = defaultdict(int)
    groups: defaultdict[tuple[str, int, str], list[AuthEvent]] = defaultdict(list)
    accepted: list[AuthEvent] = []
    failed: list[AuthEvent] = []
    exposed: dict[str, AuthEvent] = {}
    for identity, event in events.items():
        outcome, at, source, _, key, pair_id, _, description = event
        minute = int(at) // 60
        times = 1 if uses is None else uses[identity]
        counts[key, minute, source, outcome] += times
        if outcome is Outcome.ACCEPTED:
            accepted.append(event)
            if description is not UNDESCRIBED:  # a use of a retiring key pair
                groups[key, minute, outcome].append(event)
            continue
        same = (event,) * times
        groups[key, minute, outcome] += same
        if outcome in _LIKE_FAILURES:
            failed += same
        elif outcome is Outcome.PLAIN_HTTP and pair_id:
            exposed[key] = event
    # The order of successes alone does not matter.
    results = _results_by_key(accepted if len(accepted) == len(events) else batch)
    failing = {key: some for key, some in sorted(results.items()) if not all(success for success, *_ in some)}
    return BatchEffects(
        counts=counts,
        attempts=groups,
        failing=failing,
        ended=_ended({key: results[key] for key in results.keys() - failing.keys()}),
        accepted=accepted,
        exposed=exposed,
        failed=failed,
        keys=(results.keys() | exposed.keys()) - {DECOY_KEY},
    )


def _ended(succeeded: Mapping[str, Sequence[AttemptResult]]) -> set[tuple[str, str]]:
    """Return the public key and network of each streak that successes end."""
    return {
        (key, network)
        for key, results in succeeded.items()
        for result in results
        for network in (ALL_NETWORKS, result.network)
    }


def _results_by_key(batch: Iterable[AuthEvent]) -> dict[str, list[AttemptResult]]:
    """Return the results that change streaks, by public key; those of unknown and retired keys under the decoy key.

    Repeated uses of one shared event are one result: accepted requests of a busy key are most of a batch.
    """
    results: defaultdict[str, list[AttemptResult]] = defaultdict(list)
    last: dict[str, AuthEvent] = {}
    for event in batch:
        outcome, at, _, network, key, _, _, description = event
        if outcome is Outcome.ACCEPTED:
            if last.get(key) is not event:
                results[key].append(AttemptResult(True, network, at))
                last[key] = event
        elif outcome in _COUNTING:
            results[key].append(AttemptResult(False, network, at, description))
            last[key] = event
        elif outcome in SAME_COST_AS_WRONG_SECRET:
            results[DECOY_KEY].append(AttemptResult(False, decoy_network(network), at))
    return results
