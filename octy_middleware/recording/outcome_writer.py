"""What one transaction writes about a batch of outcomes: streaks, the incident with its outbox row, uses of pairs.

Here: the SQL of what outcomes lead to, folded in memory first. Not here: counts and details (`tallies`), when a batch
is written and who waits (`recorder`), the transitions of a streak (`streak`).
"""

import secrets
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from zlib import crc32

from sqlalchemy import Connection, insert

from octy_middleware.clock import Clock, to_micros, utc, uuid7
from octy_middleware.db.backend import WriteMode
from octy_middleware.db.bulk_sql import Batch, Query, fetch_many, run
from octy_middleware.db.database import Database
from octy_middleware.db.models import Confirmation, Incident
from octy_middleware.domain import outbox
from octy_middleware.domain.notices import note_exposure
from octy_middleware.http.event import AuthEvent
from octy_middleware.http.outcome import Outcome
from octy_middleware.recording import incident_counts
from octy_middleware.recording.counters import (
    ADD_ATTEMPTS,
    PRESENT_ATTEMPTS,
    PRESENT_SOURCES,
    Counts,
    add_attempts,
    add_counts,
    attempts_by_place,
    counted,
    sources_of,
)
from octy_middleware.recording.incident_counts import LIKE_WRONG, OpenIncident
from octy_middleware.recording.streak import POLICY, Crossing, Hit, Run, fold, next_notice
from octy_middleware.recording.streak_table import STORED, bounded, loaded, places_of, store
from octy_middleware.recording.window_rule import OFF, WindowRule, crossings
from octy_middleware.states import PairState

_BUCKETS = 64  # networks of the decoy
_LOCKED = 128  # keys that a recorder locks one by one; with more it would wait for most other recorders
_USAGE_EVERY = 60.0  # seconds between two notes of a pair's last use
DECOY = ""
"""The key under which unknown and retired keys go. Their streaks mean nothing and are kept for equal work (T7)."""

_CASES = Query(
    ("input.public_key", "p.id", "p.account_id", "p.state", "p.quiet_until", "i.id", "i.notify_at", "i.opened_at"),
    "{input} LEFT JOIN key_pair p ON p.public_key = input.asked "
    "LEFT JOIN incident i ON i.key_pair_id = p.id AND i.closed_at IS NULL",
    public_key="text",
    asked="text",
)
_NOTE_USAGE = Batch(
    "UPDATE key_pair SET first_used_at = COALESCE(first_used_at, input.at), last_used_at = input.at "
    "FROM {input} WHERE key_pair.id = input.id",
    id="text",
    at="bigint",
)


@dataclass(frozen=True, slots=True)
class _Case:
    """A key's pair and its open incident, if there is one; times are stored microseconds."""

    public_key: str
    pair_id: str | None
    account_id: str | None
    state: str | None
    quiet_until: int | None
    incident_id: str | None
    notify_at: int | None
    opened_at: int | None


@dataclass(frozen=True, slots=True)
class _Work:
    """What a batch leads to, folded in memory before its transaction begins."""

    counts: Counts
    attempts: Mapping[tuple[str, int, str], Sequence[AuthEvent]]
    failing: Mapping[str, Sequence[Hit]]  # of keys with a failure, in sorted order
    ended: AbstractSet[tuple[str, str]]  # streaks that ended for certain, if they were there at all
    asked: Mapping[str, str]  # by failing key, whose case is read
    accepted: Sequence[AuthEvent]
    exposed: Mapping[str, AuthEvent]
    failed: Sequence[AuthEvent]  # and what must look like it


class OutcomeWriter:
    """Writes batches into one database. Used by one thread at a time."""

    def __init__(
        self,
        database: Database,
        *,
        threshold: int,
        attempts_per_minute: int,
        sources_per_minute: int,
        networks: int,
        clock: Clock,
        window: WindowRule = OFF,
        beside: Callable[[Connection], None] = lambda _connection: None,
    ) -> None:
        """Have `beside` write into each transaction, too."""
        self._database = database
        self._pinned = database.pin_connection()
        self._beside = beside
        self._threshold = threshold
        self._window = window
        self._attempts_per_minute = attempts_per_minute
        self._sources_per_minute = sources_per_minute
        self._networks = networks
        self._clock = clock
        self._used: dict[str, float] = {}
        self._failed = DECOY  # the last known key with a failure
        self.recorded: Counter[Outcome] = Counter()  # since this process began, for its metrics
        self._decoy = f"{incident_counts.DECOY_PREFIX}{secrets.randbelow(incident_counts.DECOYS)}"
        self._nobody = f"nobody {secrets.token_hex(8)}"  # the lock of a batch without a key: equal work, no waiting

    def write(self, batch: Sequence[AuthEvent]) -> None:
        """Write the batch in one transaction. Raises DatabaseUnavailableError; then nothing of it is written."""
        work, keys = self._worked_out(batch)
        few = len(keys) <= _LOCKED
        mode = WriteMode.RECORDER if few else WriteMode.BULK_RECORDER
        with self._database.write(mode=mode, pinned=self._pinned) as connection:
            if few:
                self._database.lock_keys(connection, keys)
            attempts, stored, cases, sources = fetch_many(
                connection,
                (PRESENT_ATTEMPTS, sorted(work.attempts)),
                (STORED, places_of(work.failing)),
                (_CASES, sorted(work.asked.items())),
                (PRESENT_SOURCES, sources_of(work.counts)),
            )
            # Before the attempts: an incident that this opens begins with those of earlier commits.
            incidents = self._advance_streaks(connection, work, loaded(stored), [_Case(*row) for row in cases])
            details = add_attempts(connection, work.attempts, attempts, limit=self._attempts_per_minute)
            self._note_usage(connection, work.accepted)
            for _, event in sorted(work.exposed.items()):
                detail = {"source": event.source, "client": event.client, "request_id": event.request_id}
                note_exposure(connection, event.pair_id, detail, event.at)
            self._beside(connection)
            # Last, because recorders share the strangers' counts: nobody else's commit waits longer than for ours.
            sums = incident_counts.sums(work.counts, work.failed, incidents, self._decoy)
            beside = (ADD_ATTEMPTS, details), (incident_counts.ADD_SUMS, sums)
            add_counts(connection, work.counts, sources, *beside, sources=self._sources_per_minute)
        for (_, _, _, outcome), count in work.counts.items():
            self.recorded[Outcome(outcome)] += count

    def _worked_out(self, batch: Sequence[AuthEvent]) -> tuple[_Work, AbstractSet[str]]:
        """Return what a batch leads to, and the keys to lock for it."""
        # Accepted requests of one header and second stand in the batch as one shared entry: it is looked at once.
        events, seen = dict(zip(map(id, batch), batch, strict=True)), Counter(map(id, batch))
        accepted = [event for event in events.values() if event.outcome is Outcome.ACCEPTED]
        described = [event for event in accepted if event.request_id]  # uses of pairs that will end
        refused = [] if len(accepted) == len(events) else [e for e in batch if e.outcome is not Outcome.ACCEPTED]
        hits = _hits_by_key(batch if refused else accepted)  # among successes the order is all the same
        exposed = {
            event.public_key: event for event in refused if event.outcome is Outcome.PLAIN_HTTP and event.pair_id
        }
        failing = {key: some for key, some in sorted(hits.items()) if not all(hit.success for hit in some)}
        work = _Work(
            counts=counted((events[key], count) for key, count in seen.items()),
            attempts=attempts_by_place([*refused, *described]),
            failing=failing,
            ended={
                (key, net) for key in hits.keys() - failing.keys() for hit in hits[key] for net in (POLICY, hit.network)
            },
            # Before the threshold and for the decoy too, by way of the last key that failed: equal work.
            asked={key: self._failed if key == DECOY else key for key in failing},
            accepted=accepted,
            exposed=exposed,
            failed=[event for event in refused if event.outcome.counts or event.outcome in LIKE_WRONG],
        )
        return work, (hits.keys() | exposed.keys()) - {DECOY} or {self._nobody}

    def _advance_streaks(
        self,
        connection: Connection,
        work: _Work,
        before: Mapping[str, Mapping[str, Run]],
        cases: Iterable[_Case],
    ) -> dict[str, OpenIncident]:
        """Write the streaks and act on what they lead to; return the incidents that are open then, by key."""
        failing = bounded(connection, before, work.failing, most=self._networks)
        folded = {key: fold(before.get(key, {}), some, self._threshold) for key, some in failing.items()}
        store(connection, before, folded, work.ended)
        filled = crossings(connection, failing, work.asked, self._window)
        incidents: dict[str, OpenIncident] = {}
        for case in cases:
            if case.public_key == DECOY:  # read for equal work: strangers have no case
                continue
            self._failed = case.public_key
            found = folded[case.public_key]
            crossing = found.crossing or filled.get(case.public_key)
            incident = self._open_or_grow(connection, case, crossing, found.longest)
            if incident is not None:
                incidents[case.public_key] = incident
        return incidents

    def _open_or_grow(
        self, connection: Connection, case: _Case, crossing: Crossing | None, longest: int
    ) -> OpenIncident | None:
        """Act on a rule that is fulfilled; return the incident that is open then.

        `longest`: a success in the same batch may have ended that streak since.
        """
        incident = None if case.incident_id is None else OpenIncident(case.incident_id, (case.opened_at or 0) / 1e6)
        if crossing is None:
            return incident
        if incident is None:
            quiet = case.quiet_until is not None and to_micros(crossing.at) < case.quiet_until
            if case.state != PairState.ACTIVE or quiet:
                return None
            incident = self._open(connection, case, crossing)
            case = replace(case, notify_at=next_notice(crossing.length, self._threshold))
        if case.notify_at is not None and longest >= case.notify_at:
            self._grow(connection, incident.id, longest)
        return incident

    def _open(self, connection: Connection, case: _Case, crossing: Crossing) -> OpenIncident:
        """Open the case and its outbox row; the partial unique index holds it to one per pair."""
        now = self._clock()
        incident_id = uuid7(now)
        connection.execute(
            insert(Incident).values(
                id=incident_id,
                key_pair_id=case.pair_id,
                account_id=case.account_id,
                public_key=case.public_key,
                rule=crossing.rule,
                network=crossing.network,
                length=crossing.length,
                request_id=crossing.request_id,
                first_at=utc(crossing.first_at),
                opened_at=utc(crossing.at),
                failures=crossing.length,
                notify_at=next_notice(crossing.length, self._threshold),
            )
        )
        connection.execute(insert(Confirmation).values(incident_id=incident_id, leaked=False))
        outbox.put(connection, outbox.Event.INCIDENT_OPENED, incident_id, now)
        before = incident_counts.sums_before(connection, incident_id, case.public_key, crossing.first_at)
        return OpenIncident(incident_id, crossing.at, crossing.first_at, crossing.length, before)

    def _grow(self, connection: Connection, incident_id: str, failures: int) -> None:
        run(
            connection,
            "UPDATE incident SET failures = ?, notify_at = ? WHERE id = ?",
            failures,
            next_notice(failures, self._threshold),
            incident_id,
        )
        outbox.put(connection, outbox.Event.INCIDENT_GREW, incident_id, self._clock(), {"failures": failures})

    def _note_usage(self, connection: Connection, accepted: Iterable[AuthEvent]) -> None:
        """Note first and last use, at most once a minute and pair: it is for people."""
        latest = {event.pair_id: event.at for event in accepted}
        due = {pair_id: at for pair_id, at in latest.items() if at - self._used.get(pair_id, 0.0) >= _USAGE_EVERY}
        if not due:
            return
        if len(self._used) > 100_000:  # noqa: PLR2004  # only a memory of what need not be written again
            self._used.clear()
        self._used.update(due)
        _NOTE_USAGE.execute(connection, [(pair_id, to_micros(at)) for pair_id, at in sorted(due.items())])


def _hits_by_key(batch: Iterable[AuthEvent]) -> dict[str, list[Hit]]:
    """Return what bears on streaks, by key. Refusals of unknown and retired keys stand under the decoy.

    The same success again and again is one: accepted requests of a busy key are most of a batch.
    """
    hits: defaultdict[str, list[Hit]] = defaultdict(list)
    last: dict[str, AuthEvent] = {}
    for event in batch:
        key = event.public_key
        if event.outcome is Outcome.ACCEPTED:
            if last.get(key) is not event:
                hits[key].append(Hit(True, event.network, event.at))
                last[key] = event
        elif event.outcome.counts:
            hits[key].append(Hit(False, event.network, event.at, event.request_id))
            last[key] = event
        elif event.outcome in LIKE_WRONG:
            hits[DECOY].append(Hit(False, _bucket(event.network), event.at))
    return hits


def _bucket(network: str) -> str:
    """Return one of a few names for a network: the decoy's streaks are as many as those of a key under attack."""
    return f"decoy-{crc32(network.encode()) % _BUCKETS}"
