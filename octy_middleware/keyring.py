"""The live key records in memory: what was looked up, until the change feed says that it changed.

Here: bounded memory of known keys, the feed's reader, and how long memory is trusted while the store is away. Not
here: verifying (`keys`), deciding (`gate`). Unknown keys are never remembered, so that they push nothing out.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import inf

from sqlalchemy import text

from octy_middleware.clock import Clock, to_micros
from octy_middleware.database import Database
from octy_middleware.forking import restart_after_fork
from octy_middleware.states import PairState

_logger = logging.getLogger(__name__)

# An unknown key takes the way of another one that exists: the same rows are read, and as many (T7).
_LOOK_UP = text(
    "SELECT p.id, p.account_id, a.reference, p.public_key, p.secret_digest, p.state, p.retire_at "
    "FROM key_pair p JOIN account a ON a.id = p.account_id WHERE p.public_key = "
    "COALESCE((SELECT public_key FROM key_pair WHERE public_key = :public_key), :stand_in)"
)
_STAND_IN = text("SELECT public_key FROM key_pair ORDER BY id LIMIT 1")
_CHANGES = text("SELECT seq, public_key FROM key_change WHERE seq > :seq ORDER BY seq")
# One hash of each imported scheme, by a loose scan of the partial index: a million imports cost a few look-ups.
_IMPORTED = text(
    "WITH RECURSIVE found(scheme) AS ("
    " SELECT MIN(imported_scheme) FROM key_pair WHERE imported_scheme IS NOT NULL"
    " UNION ALL"
    " SELECT (SELECT MIN(imported_scheme) FROM key_pair WHERE imported_scheme > found.scheme)"
    " FROM found WHERE found.scheme IS NOT NULL) "
    "SELECT (SELECT secret_digest FROM key_pair WHERE imported_scheme = found.scheme LIMIT 1) "
    "FROM found WHERE found.scheme IS NOT NULL"
)
_LAST_CHANGE = text("SELECT COALESCE(MAX(seq), 0) FROM key_change")


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """What a request needs to know of a pair. `ends_at`: Unix microseconds after which it is retired, or None."""

    pair_id: str
    account_id: str
    reference: str
    public_key: str
    digest: str
    state: str
    ends_at: int | None

    def is_live(self, now: float) -> bool:
        """Tell whether the right secret is accepted now."""
        if self.state == PairState.ACTIVE:
            return True
        return self.state == PairState.RETIRING and (self.ends_at is None or to_micros(now) < self.ends_at)

    @property
    def is_known(self) -> bool:
        """A pending pair is not known to anybody yet."""
        return self.state != PairState.PENDING


class Keyring:
    """Key records by public key. Safe for threads; starts anew in a forked child."""

    def __init__(
        self,
        database: Database,
        *,
        size: int,
        interval: float,
        grace: float,
        keep: Callable[[str], bool] = lambda _digest: True,
        monotonic: Clock = time.monotonic,
    ) -> None:
        """Remember at most `size` records, of those whose digest is to `keep`; others are looked up each time."""
        self._database = database
        self._size = size
        self._interval = interval
        self._grace = grace
        self._keep = keep
        self._monotonic = monotonic
        self._epoch = 0  # counts changes, so that a look-up begun before one is not remembered after it
        self.restart()
        restart_after_fork(self)
        database.tell_changes_to(self)

    def restart(self) -> None:
        """Remember nothing and follow nothing, yet."""
        self._records: dict[str, KeyRecord] = {}
        self._aside: dict[str, KeyRecord] = {}  # of stand-ins; nobody asks it
        self._lock = threading.Lock()
        self._epoch += 1
        self._seq: int | None = None
        self._read_at = -inf
        self._imported: tuple[str, ...] = ()
        self._stand_in = ""  # some key that exists, once there is one
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def remembered(self, public_key: str) -> KeyRecord | None:
        """Return the record from memory, without any I/O, or None when it must be looked up."""
        if self._monotonic() - self._read_at > self._grace:
            return None  # the feed has been silent for too long to trust memory
        return self._records.get(public_key)

    @property
    def imported(self) -> tuple[str, ...]:
        """One stored hash of each imported scheme that some pair still has; known once a key was looked up."""
        return self._imported

    def look_up(self, public_key: str) -> KeyRecord | None:
        """Return the record as the store has it now, or None. Raises StoreUnavailableError."""
        self._ensure_reader()
        epoch = self._epoch
        with self._database.read() as connection:
            row = connection.execute(_LOOK_UP, {"public_key": public_key, "stand_in": self._stand_in}).first()
        if row is None:
            return None
        record = KeyRecord(*row)
        if record.is_known and self._keep(record.digest):
            # What stood in is put aside by the same steps, so that unknown keys push nothing out.
            self._remember(record, epoch, self._records if record.public_key == public_key else self._aside)
        return record if record.public_key == public_key else None

    def forget(self, public_keys: Iterable[str]) -> None:
        """Drop these records; the next request of theirs asks the store."""
        with self._lock:
            self._epoch += 1
            for public_key in public_keys:
                self._records.pop(public_key, None)

    def _forget_all(self) -> None:
        _logger.warning("key feed: the store stands before what was read of it; everything remembered is dropped")
        with self._lock:
            self._epoch += 1
            self._records.clear()

    def _remember(self, record: KeyRecord, epoch: int, records: dict[str, KeyRecord]) -> None:
        with self._lock:
            if epoch != self._epoch:
                return
            if len(records) >= self._size and record.public_key not in records:
                del records[next(iter(records))]
            records[record.public_key] = record

    def _ensure_reader(self) -> None:
        if self._thread is not None:
            return
        with self._lock:
            if self._thread is None:
                self._read_feed()
                self._thread = threading.Thread(
                    target=self._follow, args=(self._stop,), name="octy-key-feed", daemon=True
                )
                self._thread.start()

    def _follow(self, stop: threading.Event) -> None:
        silent = False
        while not stop.wait(self._interval):
            try:
                changed = self._read_feed()
            except Exception as error:  # noqa: BLE001  # a reader that dies would leave revoked pairs in memory
                if not silent:
                    _logger.warning(
                        "key feed: %s: %s; known pairs are accepted for %g s", type(error).__name__, error, self._grace
                    )
                silent = True
                continue
            if silent:
                _logger.warning("key feed: the store answers again")
                silent = False
            if changed:
                self.forget(changed)

    def _read_feed(self) -> list[str]:
        """Read what changed since the last look. The first look only notes where the feed stands."""
        asked_at = self._monotonic()
        with self._database.read() as connection:
            last = int(connection.execute(_LAST_CHANGE).scalar_one())
            known = self._seq
            rows = [] if known is None else connection.execute(_CHANGES, {"seq": known}).all()
            restored = known is not None and last < known  # a backup's: what changed since is unknown
            if known is None or rows or restored:
                self._imported = tuple(row[0] for row in connection.execute(_IMPORTED))
                self._stand_in = str(connection.execute(_STAND_IN).scalar() or "")
        if restored:
            self._forget_all()
        self._seq = last
        self._read_at = asked_at
        return [row[1] for row in rows]

    def close(self) -> None:
        """Stop following the feed and forget everything. A later look-up begins anew."""
        thread = self._thread
        self._stop.set()
        if thread is not None:
            thread.join(timeout=5)
        self.restart()
