"""What one transaction writes about a batch of outcomes: streaks, the incident with its outbox row, uses of pairs.

Here: the SQL of what outcomes lead to, folded in memory first. Not here: counts and details (`tallies`), when a batch
is written and who waits (`recorder`), the transitions of a streak (`streak`). Plain statements with tuples: ORM
objects cost 20 to 50 times as much.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from zlib import crc32

from sqlalchemy import Connection, insert

from octy_middleware import outbox
from octy_middleware.clock import Clock, to_micros, utc, uuid7
from octy_middleware.database import Database
from octy_middleware.entries import OVERFLOW, Entry
from octy_middleware.models import Confirmation, Incident
from octy_middleware.notices import note_exposure
from octy_middleware.outcome import Outcome
from octy_middleware.states import PairState
from octy_middleware.streak import NO_RUN, POLICY, Crossing, Folded, Hit, Run, fold, next_notice
from octy_middleware.tallies import add_attempts, add_counts

_MICROS = 1_000_000
_LIKE_WRONG = frozenset({Outcome.UNKNOWN_KEY, Outcome.RETIRED, Outcome.RETIRED_WRONG})
_BUCKETS = 64  # networks of the decoy
_CHUNK = 400  # keys a query, well under SQLite's limit of variables
_USAGE_EVERY = 60.0  # seconds between two notes of a pair's last use
DECOY = ""
"""The key under which unknown and retired keys go. Their streaks mean nothing and are kept for equal work (T7)."""


@dataclass(frozen=True, slots=True)
class _Case:
    """A key's pair and its open incident, if there is one; times are stored microseconds."""

    public_key: str
    pair_id: str
    account_id: str
    state: str
    quiet_until: int | None
    incident_id: str | None
    notify_at: int


class Ledger:
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
    ) -> None:
        self._database = database
        self._threshold = threshold
        self._attempts_per_minute = attempts_per_minute
        self._sources_per_minute = sources_per_minute
        self._networks = networks
        self._clock = clock
        self._used: dict[str, float] = {}
        self._failed = DECOY  # the last known key with a failure

    def write(self, batch: Sequence[Entry]) -> None:
        """Write the batch in one transaction. Raises StoreUnavailableError; then nothing of it is written."""
        with self._database.write() as connection:
            add_counts(connection, batch, sources=self._sources_per_minute)
            add_attempts(connection, batch, limit=self._attempts_per_minute)
            self._advance_streaks(connection, batch)
            self._note_usage(connection, batch)
            _note_exposures(connection, batch)

    def _advance_streaks(self, connection: Connection, batch: Sequence[Entry]) -> None:
        hits = _hits_by_key(batch)
        networks = {key: {POLICY, OVERFLOW, *(hit.network for hit in some)} for key, some in hits.items()}
        stored = _load_runs(connection, networks)
        for public_key in sorted(hits):
            before = stored.get(public_key, {})
            bounded = self._bounded(connection, public_key, before, hits[public_key])
            folded = fold(before, bounded, self._threshold)
            _store_runs(connection, public_key, before, folded)
            if any(not hit.success for hit in bounded):
                # Before the threshold and for the decoy too, by way of the last key that failed: equal work.
                case = _find_case(connection, self._failed if public_key == DECOY else public_key)
                if public_key != DECOY:
                    self._failed = public_key
                    if folded.crossing is not None:
                        self._open_or_grow(connection, case, folded, folded.crossing)

    def _bounded(
        self, connection: Connection, public_key: str, before: Mapping[str, Run], hits: Sequence[Hit]
    ) -> list[Hit]:
        """Let failures of networks beyond the cap share one streak; attackers choose their networks freely.

        A success ends what its own network has, but never the shared streak: others stand in it.
        """
        new = {hit.network for hit in hits if not hit.success} - before.keys()
        if not new:
            return list(hits)
        (present,) = connection.exec_driver_sql("SELECT COUNT(*) FROM streak WHERE public_key = ?", (public_key,)).one()
        kept = set(sorted(new)[: max(0, self._networks - present)])
        return [
            replace(hit, network=OVERFLOW) if not hit.success and hit.network in new - kept else hit for hit in hits
        ]

    def _open_or_grow(self, connection: Connection, case: _Case, folded: Folded, crossing: Crossing) -> None:
        longest = max(run.length for run in folded.runs.values())
        if case.incident_id is None:
            quiet = case.quiet_until is not None and to_micros(crossing.at) < case.quiet_until
            if case.state != PairState.ACTIVE or quiet:
                return
            case = replace(
                case,
                incident_id=self._open(connection, case, crossing),
                notify_at=next_notice(crossing.length, self._threshold),
            )
        if longest >= case.notify_at and case.incident_id is not None:
            self._grow(connection, case.incident_id, longest)

    def _open(self, connection: Connection, case: _Case, crossing: Crossing) -> str:
        """Open the case and its outbox row; the partial unique index holds it to one per pair. Return its id."""
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
        return incident_id

    def _grow(self, connection: Connection, incident_id: str, failures: int) -> None:
        connection.exec_driver_sql(
            "UPDATE incident SET failures = ?, notify_at = ? WHERE id = ?",
            (failures, next_notice(failures, self._threshold), incident_id),
        )
        outbox.put(connection, outbox.Event.INCIDENT_GREW, incident_id, self._clock(), {"failures": failures})

    def _note_usage(self, connection: Connection, batch: Sequence[Entry]) -> None:
        """Note first and last use, at most once a minute and pair: it is for people."""
        latest = {entry.pair_id: entry.at for entry in batch if entry.outcome is Outcome.ACCEPTED}
        due = {pair_id: at for pair_id, at in latest.items() if at - self._used.get(pair_id, 0.0) >= _USAGE_EVERY}
        if not due:
            return
        if len(self._used) > 100_000:  # noqa: PLR2004  # only a memory of what need not be written again
            self._used.clear()
        self._used.update(due)
        connection.exec_driver_sql(
            "UPDATE key_pair SET first_used_at = COALESCE(first_used_at, ?), last_used_at = ? WHERE id = ?",
            [(to_micros(at), to_micros(at), pair_id) for pair_id, at in sorted(due.items())],
        )


def _note_exposures(connection: Connection, batch: Sequence[Entry]) -> None:
    exposed = {entry.pair_id: entry for entry in batch if entry.outcome is Outcome.PLAIN_HTTP and entry.pair_id}
    for pair_id, entry in sorted(exposed.items()):
        detail = {"source": entry.source, "client": entry.client, "request_id": entry.request_id}
        note_exposure(connection, pair_id, detail, entry.at)


def _hits_by_key(batch: Sequence[Entry]) -> dict[str, list[Hit]]:
    """Return what bears on streaks, by key. Refusals of unknown and retired keys stand under the decoy."""
    hits: defaultdict[str, list[Hit]] = defaultdict(list)
    for entry in batch:
        if entry.outcome is Outcome.ACCEPTED or entry.outcome.counts:
            success = entry.outcome is Outcome.ACCEPTED
            hits[entry.public_key].append(Hit(success, entry.network, entry.at, entry.request_id))
        elif entry.outcome in _LIKE_WRONG:
            hits[DECOY].append(Hit(success=False, network=_bucket(entry.network), at=entry.at))
    return hits


def _bucket(network: str) -> str:
    """Return one of a few names for a network: the decoy's streaks are as many as those of a key under attack."""
    return f"decoy-{crc32(network.encode()) % _BUCKETS}"


def _find_case(connection: Connection, public_key: str) -> _Case:
    """Return what a crossing needs to know of the key. The decoy has neither pair nor incident."""
    pair = connection.exec_driver_sql(
        "SELECT id, account_id, state, quiet_until FROM key_pair WHERE public_key = ?", (public_key,)
    ).first()
    pair_id, account_id, state, quiet_until = pair or ("", "", PairState.RETIRED, None)
    incident = connection.exec_driver_sql(
        "SELECT id, notify_at FROM incident WHERE key_pair_id = ? AND closed_at IS NULL", (pair_id,)
    ).first()
    incident_id, notify_at = incident or (None, 0)
    return _Case(public_key, pair_id, account_id, state, quiet_until, incident_id, notify_at)


def _load_runs(connection: Connection, networks: dict[str, set[str]]) -> dict[str, dict[str, Run]]:
    wanted = [(public_key, network) for public_key, some in networks.items() for network in some]
    runs: dict[str, dict[str, Run]] = {}
    for start in range(0, len(wanted), _CHUNK):
        chunk = wanted[start : start + _CHUNK]
        places = ", ".join(["(?, ?)"] * len(chunk))
        rows = connection.exec_driver_sql(
            f"SELECT public_key, network, length, first_at, last_at FROM streak "  # noqa: S608  # only question marks
            f"WHERE (public_key, network) IN (VALUES {places})",
            tuple(value for pair in chunk for value in pair),
        )
        for public_key, network, length, first_at, last_at in rows:
            runs.setdefault(public_key, {})[network] = Run(length, first_at / _MICROS, last_at / _MICROS)
    return runs


def _store_runs(connection: Connection, public_key: str, before: dict[str, Run], folded: Folded) -> None:
    changed = {network: run for network, run in folded.runs.items() if run != before.get(network, NO_RUN)}
    ended = [(public_key, network) for network, run in changed.items() if run.length == 0]
    grown = [
        (public_key, network, run.length, to_micros(run.first_at), to_micros(run.last_at))
        for network, run in changed.items()
        if run.length > 0
    ]
    if ended:
        connection.exec_driver_sql("DELETE FROM streak WHERE public_key = ? AND network = ?", ended)
    if grown:
        connection.exec_driver_sql(
            "INSERT INTO streak (public_key, network, length, first_at, last_at) VALUES (?, ?, ?, ?, ?) "
            "ON CONFLICT (public_key, network) DO UPDATE SET "
            "length = excluded.length, first_at = excluded.first_at, last_at = excluded.last_at",
            grown,
        )
