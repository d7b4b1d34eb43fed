"""What one transaction writes for a batch of events: counts, streaks, incidents with their outbox messages, last uses.

The batch is reduced in memory first, so the transaction is short whatever the size of the batch.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, insert

from octy_middleware.clock import Clock, to_micros, utc, uuid7
from octy_middleware.db.batch_transaction import BatchTransaction
from octy_middleware.db.bulk_sql import Batch, Query, fetch_many, run
from octy_middleware.db.database import Database
from octy_middleware.db.models import Incident, IncidentAnswer
from octy_middleware.domain import outbox
from octy_middleware.domain.notices import record_exposure
from octy_middleware.equal_work import DECOY_KEY, make_decoy_lock, make_decoy_subject
from octy_middleware.http.event import AuthEvent
from octy_middleware.http.outcome import Outcome
from octy_middleware.recording import incident_counts
from octy_middleware.recording.batch_effects import BatchEffects, fold_batch
from octy_middleware.recording.counters import (
    ADD_ATTEMPTS,
    COUNT_ATTEMPTS,
    COUNT_SOURCES,
    FIND_SOURCES,
    find_new_sources,
    limit_sources,
    source_places,
    write_attempts,
    write_counts,
)
from octy_middleware.recording.incident_counts import OpenIncident
from octy_middleware.recording.streak import FoldResult, RuleMatch, fold, next_notify_at
from octy_middleware.recording.streak_table import (
    COUNT_NETWORKS,
    LOAD_STREAKS,
    find_new_networks,
    limit_networks,
    streak_places,
    streaks_by_key,
    write_streaks,
)
from octy_middleware.recording.window_rule import COUNT_FAILURES, OFF, WindowRule, find_window_matches, window_places
from octy_middleware.states import KeyPairState

MAX_LOCKED_KEYS = 128  # with more keys it would wait for most other recorders anyway, so it takes one lock for all
MAX_USAGES = 100_000  # key pairs whose last written use is remembered; beyond that it is written once more than needed
_USAGE_INTERVAL = 60.0  # seconds between two writes of a key pair's last use

_KEY_STATES = Query(
    ("input.public_key", "p.id", "p.account_id", "p.state", "p.quiet_until", "i.id", "i.notify_at", "i.opened_at"),
    "{input} LEFT JOIN key_pair p ON p.public_key = input.lookup_key "
    "LEFT JOIN incident i ON i.key_pair_id = p.id AND i.closed_at IS NULL",
    public_key="text",
    lookup_key="text",
)
_RECORD_USAGE = Batch(
    "UPDATE key_pair SET first_used_at = COALESCE(first_used_at, input.at), last_used_at = input.at "
    "FROM {input} WHERE key_pair.id = input.id",
    id="text",
    at="bigint",
)


class _KeyState(NamedTuple):
    """The key pair of a public key and its open incident, if any; times in Unix microseconds."""

    public_key: str
    pair_id: str | None
    account_id: str | None
    state: str | None
    quiet_until: int | None
    incident_id: str | None
    notify_at: int | None
    opened_at: int | None


class OutcomeWriter:
    """Writes batches into one database. Used by one thread at a time."""

    def __init__(
        self,
        database: Database,
        *,
        threshold: int,
        attempts_per_minute: int,
        sources_per_minute: int,
        max_networks: int,
        clock: Clock,
        window: WindowRule = OFF,
        also_write: Callable[[BatchTransaction], None] = lambda _transaction: None,
    ) -> None:
        """`also_write` is called in each transaction."""
        self._database = database
        self._pinned = database.pin_connection()
        self._also_write = also_write
        self._threshold = threshold
        self._window = window
        self._attempts_per_minute = attempts_per_minute
        self._sources_per_minute = sources_per_minute
        self._max_networks = max_networks
        self._clock = clock
        self._usage_recorded_at: dict[str, float] = {}
        self._last_failed_key = DECOY_KEY  # the last live key with a failure: its incident is loaded for the decoy key
        self.recorded: Counter[Outcome] = Counter()  # since the process started, for metrics
        self._decoy_subject = make_decoy_subject()
        self._decoy_lock = make_decoy_lock()

    def write(self, batch: Sequence[AuthEvent]) -> None:
        """Write the batch in one transaction. Raises DatabaseUnavailableError; then nothing of it is written."""
        effects = fold_batch(batch)
        keys = effects.keys or {self._decoy_lock}
        # Loaded before the threshold is reached, and for the decoy key too, as the last failed key: equal work.
        lookup_keys = {key: self._last_failed_key if key == DECOY_KEY else key for key in effects.failing}
        with self._database.write_batch(
            keys if len(keys) <= MAX_LOCKED_KEYS else None,
            (COUNT_ATTEMPTS, sorted(effects.attempts)),
            (LOAD_STREAKS, streak_places(effects.failing)),
            (_KEY_STATES, sorted(lookup_keys.items())),
            (FIND_SOURCES, source_places(effects.counts)),
            (COUNT_FAILURES, window_places(effects.failing, lookup_keys, self._window)),
            pinned=self._pinned,
        ) as transaction:
            self._write(transaction, effects)
        for (_, _, _, outcome), count in effects.counts.items():
            self.recorded[Outcome(outcome)] += count

    def _write(self, transaction: BatchTransaction, effects: BatchEffects) -> None:
        attempts, stored, key_states, present, in_window = transaction.found
        before = streaks_by_key(stored)
        new_networks = find_new_networks(before, effects.failing)
        new_sources = find_new_sources(effects.counts, present)
        networks, sources = fetch_many(
            transaction.connection,
            (COUNT_NETWORKS, [(key,) for key in new_networks]),
            (COUNT_SOURCES, list(new_sources)),
        )
        failing = limit_networks(effects.failing, new_networks, networks, max_networks=self._max_networks)
        folded = {key: fold(before.get(key, {}), some, self._threshold) for key, some in failing.items()}
        # Before the attempts are written: an incident that opens here is given the counts of earlier commits only.
        incidents = self._update_incidents(
            transaction.connection,
            [_KeyState(*row) for row in key_states],
            folded,
            find_window_matches(failing, in_window, self._window),
        )
        for _, event in sorted(effects.exposed.items()):
            detail = {"source": event.source, "user_agent": event.user_agent, "request_id": event.request_id}
            record_exposure(transaction.connection, event.pair_id, detail, event.at)
        write_streaks(transaction, before, folded, effects.ended)
        added = write_attempts(transaction, effects.attempts, attempts, limit=self._attempts_per_minute)
        self._record_usage(transaction, effects.accepted)
        self._also_write(transaction)
        # Last, because recorders share the rows of unknown keys: others then wait for no more than this commit.
        transaction.add(ADD_ATTEMPTS, added)
        sums = incident_counts.sums(effects.counts, effects.failed, incidents, self._decoy_subject)
        transaction.add(incident_counts.ADD_SUMS, sums)
        limited = limit_sources(effects.counts, new_sources, sources, max_sources=self._sources_per_minute)
        write_counts(transaction, limited)

    def _update_incidents(
        self,
        connection: Connection,
        key_states: Iterable[_KeyState],
        folded: Mapping[str, FoldResult],
        window_matches: Mapping[str, RuleMatch],
    ) -> dict[str, OpenIncident]:
        """Open or update incidents; return those that are open then, by public key."""
        incidents: dict[str, OpenIncident] = {}
        for key_state in key_states:
            if key_state.public_key == DECOY_KEY:  # loaded for equal work only: unknown keys have no incident
                continue
            self._last_failed_key = key_state.public_key
            found = folded[key_state.public_key]
            rule_match = found.rule_match or window_matches.get(key_state.public_key)
            incident = self._update_incident(connection, key_state, rule_match, found.longest)
            if incident is not None:
                incidents[key_state.public_key] = incident
        return incidents

    def _update_incident(
        self, connection: Connection, key_state: _KeyState, rule_match: RuleMatch | None, longest: int
    ) -> OpenIncident | None:
        """Open the incident or note its growth if a rule matched; return the incident that is open then.

        `longest`: the greatest length in this batch, even if a success in it has ended that streak.
        """
        incident = (
            None
            if key_state.incident_id is None
            else OpenIncident(key_state.incident_id, (key_state.opened_at or 0) / 1e6)
        )
        if rule_match is None:
            return incident
        if incident is None:
            quiet = key_state.quiet_until is not None and to_micros(rule_match.at) < key_state.quiet_until
            if key_state.state != KeyPairState.ACTIVE or quiet:
                return None
            incident = self._open_incident(connection, key_state, rule_match)
            key_state = key_state._replace(notify_at=next_notify_at(rule_match.length, self._threshold))
        if key_state.notify_at is not None and longest >= key_state.notify_at:
            self._update_failures(connection, incident.id, longest)
        return incident

    def _open_incident(self, connection: Connection, key_state: _KeyState, rule_match: RuleMatch) -> OpenIncident:
        """Insert the incident and its outbox message. A partial unique index allows one open incident a key pair."""
        now = self._clock()
        incident_id = uuid7(now)
        connection.execute(
            insert(Incident).values(
                id=incident_id,
                key_pair_id=key_state.pair_id,
                account_id=key_state.account_id,
                public_key=key_state.public_key,
                rule=rule_match.rule,
                network=rule_match.network,
                length=rule_match.length,
                request_id=rule_match.request_id,
                first_at=utc(rule_match.first_at),
                opened_at=utc(rule_match.at),
                failures=rule_match.length,
                notify_at=next_notify_at(rule_match.length, self._threshold),
            )
        )
        connection.execute(insert(IncidentAnswer).values(incident_id=incident_id, leaked=False))
        outbox.enqueue(connection, outbox.MessageKind.INCIDENT_OPENED, incident_id, now)
        before = incident_counts.sums_before(connection, incident_id, key_state.public_key, rule_match.first_at)
        return OpenIncident(incident_id, rule_match.at, rule_match.first_at, rule_match.length, before)

    def _update_failures(self, connection: Connection, incident_id: str, failures: int) -> None:
        run(
            connection,
            "UPDATE incident SET failures = ?, notify_at = ? WHERE id = ?",
            failures,
            next_notify_at(failures, self._threshold),
            incident_id,
        )
        outbox.enqueue(connection, outbox.MessageKind.INCIDENT_GREW, incident_id, self._clock(), {"failures": failures})

    def _record_usage(self, transaction: BatchTransaction, accepted: Iterable[AuthEvent]) -> None:
        """Write first and last use, at most once a minute and key pair; it is for display only."""
        latest = {event.pair_id: event.at for event in accepted}
        due = {
            pair_id: at
            for pair_id, at in latest.items()
            if at - self._usage_recorded_at.get(pair_id, 0.0) >= _USAGE_INTERVAL
        }
        if not due:
            return
        if len(self._usage_recorded_at) > MAX_USAGES:
            self._usage_recorded_at.clear()
        self._usage_recorded_at.update(due)
        transaction.add(_RECORD_USAGE, [(pair_id, to_micros(at)) for pair_id, at in sorted(due.items())])
