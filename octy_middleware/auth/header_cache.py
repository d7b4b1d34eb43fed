"""A cache of Authorization headers that were accepted recently: the same header is accepted and recorded in one step.

Its keys are keyed digests of whole headers, so that no secret is in memory in clear. A hit is valid only while the key
cache holds the very record that the header was verified by; a revoked key pair is dropped there.

`get` is one long function because every accepted request runs it: split up it takes twice as long.
"""

import secrets
from hashlib import blake2b
from itertools import islice

from octy_middleware.clock import Clock, elapsed
from octy_middleware.http.client_address import counted_source, network_of
from octy_middleware.http.decision import AuthDecision
from octy_middleware.http.event import AuthEvent
from octy_middleware.http.outcome import Outcome
from octy_middleware.keys.key_record import CachedRecords, KeyRecord
from octy_middleware.process.fork import process_mark, restart_after_fork
from octy_middleware.recording.recorder import Recorder

_EVICTION_BATCH = 64  # headers that are evicted at once
_MAX_SOURCES = 64  # sources of one header with a shared event


class _CachedHeader:
    """An accepted header: the record it was verified by, and the shared events of this second by source."""

    __slots__ = ("decision", "events", "key", "packed", "record", "second_ends_at")

    def __init__(self, record: KeyRecord, packed: bytes, decision: AuthDecision) -> None:
        self.record = record
        self.key = record.public_key.encode()
        self.packed = packed
        self.decision = decision
        self.second_ends_at = 0.0
        self.events: dict[str, AuthEvent] = {}


class HeaderCache:
    """Holds at most `size` headers. Safe for threads; empty in a forked child."""

    def __init__(self, size: int, memory: CachedRecords, recorder: Recorder, clock: Clock) -> None:
        self._size = size
        self._memory = memory
        self._recorder = recorder
        self._clock = clock
        self.restart()
        restart_after_fork(self)

    def restart(self) -> None:
        """Start empty, with a new key for the digests."""
        self._state = blake2b(key=secrets.token_bytes(32), digest_size=16)
        self._headers: dict[bytes, _CachedHeader] = {}

    def __len__(self) -> int:
        """Return the number of cached headers."""
        return len(self._headers)

    def get(self, value: bytes, source: str) -> AuthDecision | None:
        """Return the decision for a header that is cached byte for byte, or None; its use is recorded.

        A decision with an event must wait for its commit (see `Recorder.record`).
        """
        if not process_mark[0]:  # a forked child: nothing has restarted yet
            return None
        state = self._state.copy()
        state.update(value)
        memory = self._memory
        try:
            cached = self._headers[state.digest()]
            is_current = memory.records[cached.key] is cached.packed
        except KeyError:
            return None
        if not is_current or elapsed() > memory.trusted_until:
            return None
        now = self._clock()
        if now >= cached.second_ends_at or now < cached.second_ends_at - 1.0:
            cached.events = {}
            cached.second_ends_at = float(int(now) + 1)
        events = cached.events
        event = events[source] if source in events else self._shared_event(cached, source, now)
        if self._recorder.record(event):
            return cached.decision
        return cached.decision._replace(event=event)

    def add(self, value: bytes, record: KeyRecord, packed: bytes, decision: AuthDecision) -> None:
        """Cache an accepted header of an active key pair; the oldest are evicted."""
        state = self._state.copy()
        state.update(value)
        if len(self._headers) >= self._size:
            for oldest in list(islice(self._headers, min(_EVICTION_BATCH, self._size))):
                self._headers.pop(oldest, None)
        self._headers[state.digest()] = _CachedHeader(record, packed, decision)

    @staticmethod
    def _shared_event(cached: _CachedHeader, source: str, now: float) -> AuthEvent:
        """Return the event for all uses from this source in this second; the recorder counts one object many times."""
        record = cached.record
        event = AuthEvent(
            Outcome.ACCEPTED, now, counted_source(source), network_of(source), record.public_key, record.pair_id
        )
        if len(cached.events) < _MAX_SOURCES:
            cached.events[source] = event
        return event
