"""A bounded cache of key records, kept up to date by the change feed.

Unknown keys are never cached, so they evict nothing.

How long cached records are trusted is decided in `cache_trust`.
"""

import logging
import threading
from collections.abc import Callable, Iterable
from itertools import islice
from struct import error as StructError  # noqa: N812

from sqlalchemy import Connection

from octy_middleware.auth.cache_trust import TICK_INTERVAL, CacheTrust
from octy_middleware.auth.change_feed import ChangeFeed
from octy_middleware.clock import elapsed
from octy_middleware.db.bulk_sql import Query, Row, fetch_many
from octy_middleware.db.database import Database
from octy_middleware.domain.key_checks import PepperCheck
from octy_middleware.errors import KeyMismatchError, OctyError, StandbyError
from octy_middleware.keys.key_record import CachedRecords, KeyRecord, pack
from octy_middleware.process.fork import restart_after_fork

_logger = logging.getLogger(__name__)

# For an unknown key the record of another one is read: as many rows (`equal_work`).
_LOAD = Query(
    (
        "{standby}",
        "input.public_key",
        "p.id",
        "p.account_id",
        "a.reference",
        "p.public_key",
        "p.secret_digest",
        "p.state",
        "p.retire_at",
    ),
    "{input} CROSS JOIN key_pair p CROSS JOIN account a WHERE p.public_key = "
    "COALESCE((SELECT k.public_key FROM key_pair k WHERE k.public_key = input.public_key), input.dummy_key) "
    "AND a.id = p.account_id",
    public_key="text",
    dummy_key="text",
)
_EVICTION_BATCH = 1024  # at most so many records are evicted at once


class KeyCache:
    """Key records by public key. Safe for threads; empty in a forked child."""

    def __init__(
        self,
        database: Database,
        *,
        size: int,
        interval: float,
        grace_period: float,
        peppers: PepperCheck,
        is_cacheable: Callable[[str], bool] = lambda _digest: True,
    ) -> None:
        """Cache at most `size` records whose digest `is_cacheable`; others are loaded each time.

        Loading raises KeyMismatchError while `peppers` are not those of the database.
        """
        self._database = database
        self._pinned = database.pin_connection()
        self._size = size
        self._interval = interval
        self._grace_period = grace_period
        self._is_cacheable = is_cacheable
        self._peppers = peppers
        self.memory = CachedRecords()
        self.restores_detected = 0  # how often the feed went back: a backup was restored
        self._epoch = 0  # incremented by each change, so that a record loaded before it is not cached after it
        self.restart()
        restart_after_fork(self)
        database.add_key_listener(self)

    def restart(self) -> None:
        """Start empty and without threads, in a forked child."""
        self.memory.records = {}
        self._trust = CacheTrust(self.memory, self._grace_period)
        self._peppers.restart()
        self._feed = ChangeFeed(self._database, self._peppers)
        self._dummy_records: dict[bytes, bytes] = {}  # written for equal work, never read
        self._lock = threading.Lock()
        self._epoch += 1
        self._renewed: set[str] = set()  # key pairs whose change the feed has not reported yet
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def get_packed(self, public_key: bytes) -> bytes | None:
        """Return the cached packed record, or None. It is the same object for as long as nothing changed.

        None also when the feed was not read for too long to trust the cache.
        """
        return None if elapsed() > self.memory.trusted_until else self.memory.records.get(public_key)

    @property
    def imported_hashes(self) -> tuple[str, ...]:
        """One stored hash of each imported scheme that is still in use. Empty before the first load."""
        return self._feed.imported_hashes

    def load(self, public_key: str) -> KeyRecord | None:
        """Load the record of a key from the database, or None. Raises what `load_many` raises."""
        return self.load_many([public_key]).get(public_key)

    def load_many(self, public_keys: Iterable[str]) -> dict[str, KeyRecord]:
        """Load the records of those keys that exist from the database, and cache them.

        Raises DatabaseUnavailableError, or KeyMismatchError when this host's peppers are not the database's.
        """
        self._ensure_feed_reader()
        epoch, dummy_key = self._epoch, self._feed.dummy_key
        requested = [(public_key, dummy_key) for public_key in public_keys]

        def question(connection: Connection) -> list[Row]:
            [rows] = fetch_many(connection, (_LOAD, requested))
            if any(row[0] for row in rows):
                raise StandbyError("a look-up was answered by a standby: only the primary is used")
            return rows

        rows = self._database.query(self._pinned, question)
        if not self._peppers.is_confirmed:  # after the rows, since peppers are registered before any key pair is made
            with self._database.read() as connection:
                self._peppers.confirm(connection)
        found = {}
        for _, requested_key, *columns in rows:
            record = KeyRecord(*columns)
            real = record.public_key == requested_key
            if record.is_known and self._is_cacheable(record.digest):
                # A dummy takes the same steps in a dictionary of its own, so that unknown keys evict nothing.
                self._add(record, epoch, self.memory.records if real else self._dummy_records)
            if real:
                found[requested_key] = record
        return found

    def invalidate(self, public_keys: Iterable[str]) -> None:
        """Drop these records; their next request loads them again."""
        with self._lock:
            self._epoch += 1
            for public_key in public_keys:
                self.memory.records.pop(public_key.encode(), None)

    def _drop_records(self) -> None:
        with self._lock:
            self._epoch += 1
            self.memory.records.clear()
            self._renewed.clear()

    def _add(self, record: KeyRecord, epoch: int, records: dict[bytes, bytes]) -> None:
        try:
            key, packed = record.public_key.encode(), pack(record)
        except (ValueError, LookupError, StructError):  # a foreign id or state: loaded each time
            return
        with self._lock:
            if epoch != self._epoch:
                return
            if len(records) >= self._size and key not in records:
                # Several at once: the more entries a dict has lost, the longer it takes to find its first.
                for oldest in list(islice(records, max(1, min(_EVICTION_BATCH, self._size // 16)))):
                    del records[oldest]
            if records.get(key) != packed:  # the same object for the same record
                records[key] = packed

    def _ensure_feed_reader(self) -> None:
        if self._thread is not None:
            return
        with self._lock:
            if self._thread is None:  # pragma: no branch - another thread has just started it
                started_at = elapsed()
                self._read_feed()
                self._trust.succeed(started_at)
                self._start(self._tick, "octy-key-trust")
                self._thread = self._start(self._follow_feed, "octy-key-feed")

    def _start(self, run: Callable[[threading.Event, CacheTrust], None], name: str) -> threading.Thread:
        thread = threading.Thread(target=run, args=(self._stop, self._trust), name=name, daemon=True)
        thread.start()
        return thread

    def _tick(self, stop: threading.Event, trust: CacheTrust) -> None:
        """Report to `cache_trust` that this process runs; in a thread of its own, as a read of the feed may hang."""
        level = logging.WARNING  # the first time only: some hosts stop their processes between requests
        while not stop.wait(TICK_INTERVAL):
            paused = trust.tick(elapsed())
            if paused:
                _logger.log(
                    level,
                    "this process was paused for %.1f s; key records are loaded again before they are used",
                    paused,
                )
                level = logging.DEBUG

    def _follow_feed(self, stop: threading.Event, trust: CacheTrust) -> None:
        is_failing = False
        while not stop.wait(self._interval):
            started_at = elapsed()
            trust.begin(started_at)
            try:
                changed = self._read_feed()
            except Exception as error:  # noqa: BLE001  # if this thread ended, revoked key pairs would stay cached
                if not stop.is_set():
                    trust.fail(elapsed())
                if isinstance(error, KeyMismatchError):  # another database, or its peppers were registered elsewhere
                    self._feed.forget()
                    self._drop_records()
                    continue
                if not is_failing:
                    _logger.warning(
                        "change feed: %s: %s; cached key pairs are accepted for %g s",
                        type(error).__name__,
                        error,
                        self._grace_period,
                    )
                is_failing = True
                continue
            if is_failing:
                _logger.warning("change feed: database available again")
                is_failing = False
            if changed:
                self.invalidate(changed)
            if not stop.is_set():  # `close` does not wait for a read that hangs
                trust.succeed(started_at)
                self._reload_renewed(changed)

    def reload_renewed(self, public_key: str) -> None:
        """Load a key pair whose digest this process has just renewed, and once more when the feed reports that change.

        So it is accepted in an outage that begins now. Raises DatabaseUnavailableError.
        """
        self._renewed.add(public_key)
        self.load(public_key)

    def _reload_renewed(self, changed: Iterable[str]) -> None:
        for key in changed:
            if key in self._renewed:
                self._renewed.discard(key)
                try:
                    self.load(key)
                except OctyError as error:  # the next request loads it
                    _logger.debug("change feed: a renewed key pair was not loaded again: %s", type(error).__name__)

    def _read_feed(self) -> list[str]:
        """Return the public keys that changed since the last read. Drop all records if some changes are unknown."""
        changes = self._feed.read()
        self.restores_detected += changes.went_back
        if changes.has_gap:
            self._drop_records()
        return changes.public_keys

    def stop(self) -> None:
        """Stop following the change feed. The cached records stay until they are too old to be trusted."""
        thread = self._thread
        self._stop.set()
        if thread is not None:
            thread.join(timeout=5)

    def close(self) -> None:
        """Stop the threads and drop all records. A later load starts them again."""
        self.stop()
        self.restart()
