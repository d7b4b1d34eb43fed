"""The live key records in memory: what was looked up, until the change feed says that it changed.

Here: bounded memory of known keys, the feed's reader, and how long memory is trusted while the store is away. Not
here: verifying (`keys`), deciding (`gate`). Unknown keys are never remembered, so that they push nothing out.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from itertools import islice
from math import inf
from struct import Struct
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import text

from octy_middleware.clock import Clock, to_micros
from octy_middleware.database import Database
from octy_middleware.forking import restart_after_fork
from octy_middleware.statements import Batch
from octy_middleware.states import PairState

_logger = logging.getLogger(__name__)

# An unknown key takes the way of another one that exists: the same rows are read, and as many (T7).
_LOOK_UP = Batch(
    "SELECT given.public_key, p.id, p.account_id, a.reference, p.public_key, p.secret_digest, p.state, p.retire_at "
    "FROM {given} CROSS JOIN key_pair p CROSS JOIN account a WHERE p.public_key = "
    "COALESCE((SELECT k.public_key FROM key_pair k WHERE k.public_key = given.public_key), given.stand_in) "
    "AND a.id = p.account_id",
    public_key="text",
    stand_in="text",
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
_EVICTED = 1024  # records that make room at once
_HEAD = Struct(">16s16sBqHB")  # pair, account, state, end, lengths of the digest's parts; behind it these, reference
_LENGTHS = Struct(">HB")
_STATES = tuple(PairState)
_LAST_CHANGE = text("SELECT COALESCE(MAX(seq), 0) FROM key_change")


class KeyRecord(NamedTuple):
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


class Memory:
    """What is remembered: packed records by public key, and until when (monotonic seconds) they may be trusted."""

    __slots__ = ("records", "trusted_until")

    def __init__(self) -> None:
        self.records: dict[bytes, bytes] = {}  # packed: a million of them fit into 300 MB
        self.trusted_until = -inf


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
        self.memory = Memory()
        self._epoch = 0  # counts changes, so that a look-up begun before one is not remembered after it
        self.restart()
        restart_after_fork(self)
        database.tell_changes_to(self)

    def restart(self) -> None:
        """Remember nothing and follow nothing, yet."""
        self.memory.records = {}
        self.memory.trusted_until = -inf  # the feed has told nothing yet
        self._aside: dict[bytes, bytes] = {}  # of stand-ins; nobody asks it
        self._lock = threading.Lock()
        self._epoch += 1
        self._seq: int | None = None
        self._imported: tuple[str, ...] = ()
        self._stand_in = ""  # some key that exists, once there is one
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def remembered(self, public_key: str) -> KeyRecord | None:
        """Return the record from memory, without any I/O, or None when it must be looked up."""
        packed = self.recall(public_key.encode())
        return None if packed is None else unpack(public_key, packed)

    def recall(self, public_key: bytes) -> bytes | None:
        """Return the packed record from memory, the same object for as long as nothing changed, or None.

        None also when the feed has been silent for too long to trust memory.
        """
        return None if self._monotonic() > self.memory.trusted_until else self.memory.records.get(public_key)

    @property
    def imported(self) -> tuple[str, ...]:
        """One stored hash of each imported scheme that some pair still has; known once a key was looked up."""
        return self._imported

    def look_up(self, public_key: str) -> KeyRecord | None:
        """Return the record as the store has it now, or None. Raises StoreUnavailableError."""
        return self.look_up_all([public_key]).get(public_key)

    def look_up_all(self, public_keys: Iterable[str]) -> dict[str, KeyRecord]:
        """Return the records of those keys that exist, as the store has them now. Raises StoreUnavailableError."""
        self._ensure_reader()
        epoch, stand_in = self._epoch, self._stand_in
        with self._database.read() as connection:
            rows = _LOOK_UP.fetch(connection, [(public_key, stand_in) for public_key in public_keys])
        found = {}
        for asked, *columns in rows:
            record = KeyRecord(*columns)
            real = record.public_key == asked
            if record.is_known and self._keep(record.digest):
                # What stood in is put aside by the same steps, so that unknown keys push nothing out.
                self._remember(record, epoch, self.memory.records if real else self._aside)
            if real:
                found[asked] = record
        return found

    def forget(self, public_keys: Iterable[str]) -> None:
        """Drop these records; the next request of theirs asks the store."""
        with self._lock:
            self._epoch += 1
            for public_key in public_keys:
                self.memory.records.pop(public_key.encode(), None)

    def _forget_all(self) -> None:
        _logger.warning("key feed: the store stands before what was read of it; everything remembered is dropped")
        with self._lock:
            self._epoch += 1
            self.memory.records.clear()

    def _remember(self, record: KeyRecord, epoch: int, records: dict[bytes, bytes]) -> None:
        key, packed = record.public_key.encode(), pack(record)
        with self._lock:
            if epoch != self._epoch:
                return
            if len(records) >= self._size and key not in records:
                # Several at once: to find the first of a dict takes the longer, the more were taken from it.
                for oldest in list(islice(records, max(1, min(_EVICTED, self._size // 16)))):
                    del records[oldest]
            if records.get(key) != packed:  # the same object stands for the same record
                records[key] = packed

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
        self.memory.trusted_until = asked_at + self._grace
        return [row[1] for row in rows]

    def close(self) -> None:
        """Stop following the feed and forget everything. A later look-up begins anew."""
        thread = self._thread
        self._stop.set()
        if thread is not None:
            thread.join(timeout=5)
        self.restart()


def pack(record: KeyRecord) -> bytes:
    """Return a record as bytes, without its public key: a fifth of the room that its texts would take."""
    ends_at = -1 if record.ends_at is None else record.ends_at
    prefix, digest = _halves(record.digest)
    head = _HEAD.pack(
        UUID(record.pair_id).bytes,
        UUID(record.account_id).bytes,
        _STATES.index(PairState(record.state)),
        ends_at,
        len(prefix),
        len(digest),
    )
    return head + prefix + digest + record.reference.encode()


def _halves(stored: str) -> tuple[bytes, bytes]:
    """Return a digest's text, and the hexadecimal half of it as bytes where it has one."""
    prefix, dollar, digest = stored.rpartition("$")
    try:
        raw = bytes.fromhex(digest)
    except ValueError:
        return stored.encode(), b""
    return ((prefix + dollar).encode(), raw) if raw.hex() == digest else (stored.encode(), b"")


def digest_of(packed: bytes) -> str:
    """Return the digest of a packed record."""
    prefix, digest = _LENGTHS.unpack_from(packed, _HEAD.size - _LENGTHS.size)
    middle = _HEAD.size + int(prefix)
    return packed[_HEAD.size : middle].decode() + packed[middle : middle + int(digest)].hex()


def unpack(public_key: str, packed: bytes) -> KeyRecord:
    """Return the record of this key that `pack` made."""
    pair, account, state, ends_at, prefix, digest = _HEAD.unpack_from(packed)
    end = _HEAD.size + prefix + digest
    return KeyRecord(
        str(UUID(bytes=pair)),
        str(UUID(bytes=account)),
        packed[end:].decode(),
        public_key,
        digest_of(packed),
        _STATES[state],
        None if ends_at < 0 else ends_at,
    )
