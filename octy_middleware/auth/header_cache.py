"""The express lane: Authorization headers that were right a moment ago, passed on and recorded in one step.

Here: a bounded map from a keyed digest of the whole value, so that no secret stands in memory in clear, to the decision
that it leads to. Not here: how a header is found right (`authenticator`). Every hit still looks whether memory holds
the very record that the header was proven by: a revoked pair is dropped there, and found in the store to be revoked.

What is written here in one function would read better in five, and take twice as long: a call costs as much as a
digest's third, and an accepted request goes through nothing else.
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
from octy_middleware.process.fork import restart_after_fork
from octy_middleware.recording.recorder import Recorder

_EVICTION_BATCH = 64  # headers that make room at once
_MAX_SOURCES = 64  # sources of one header whose events are kept for the second


class _CachedHeader:
    """A right header: what it was proven by, and this second's events by source."""

    __slots__ = ("decision", "events", "key", "packed", "record", "valid_until")

    def __init__(self, record: KeyRecord, packed: bytes, decision: AuthDecision) -> None:
        self.record = record
        self.key = record.public_key.encode()
        self.packed = packed
        self.decision = decision
        self.valid_until = 0.0  # when events get stale, or the pair ends
        self.events: dict[str, AuthEvent] = {}


class HeaderCache:
    """At most `size` headers. Safe for threads; starts anew in a forked child."""

    def __init__(
        self, size: int, memory: CachedRecords, recorder: Recorder, clock: Clock, monotonic: Clock = elapsed
    ) -> None:
        self._size = size
        self._memory = memory
        self._recorder = recorder
        self._clock = clock
        self._monotonic = monotonic
        self.restart()
        restart_after_fork(self)

    def restart(self) -> None:
        """Know nothing, under another key."""
        self._state = blake2b(key=secrets.token_bytes(32), digest_size=16)
        self._headers: dict[bytes, _CachedHeader] = {}

    def get(self, value: bytes, source: str) -> AuthDecision | None:
        """Return the decision of a value that is known, byte for byte, or None; its use is noted.

        A decision with an event waits for its commit, as `Recorder.record` says.
        """
        state = self._state.copy()
        state.update(value)
        cached = self._headers.get(state.digest())
        memory = self._memory
        if (
            cached is None
            or memory.records.get(cached.key) is not cached.packed
            or self._monotonic() > memory.trusted_until
        ):
            return None
        now = self._clock()
        if now >= cached.valid_until or now < cached.valid_until - 1.0:
            if not cached.record.is_live(now):
                return None
            self._start_second(cached, now)
        event = cached.events.get(source)
        if event is None:
            event = self._shared_event(cached, source, now)
        if self._recorder.record(event):
            return cached.decision
        return cached.decision._replace(event=event)

    def add(self, value: bytes, record: KeyRecord, packed: bytes, decision: AuthDecision) -> None:
        """Know a right value from now on; the oldest ones make room."""
        state = self._state.copy()
        state.update(value)
        if len(self._headers) >= self._size:
            for oldest in list(islice(self._headers, min(_EVICTION_BATCH, self._size))):
                self._headers.pop(oldest, None)
        self._headers[state.digest()] = _CachedHeader(record, packed, decision)

    @staticmethod
    def _start_second(cached: _CachedHeader, now: float) -> None:
        cached.events = {}
        valid_until = float(int(now) + 1)
        cached.valid_until = (
            valid_until if cached.record.ends_at is None else min(valid_until, cached.record.ends_at / 1e6)
        )

    @staticmethod
    def _shared_event(cached: _CachedHeader, source: str, now: float) -> AuthEvent:
        """Return the event that stands for each use from this source in this second: counted, not copied."""
        record = cached.record
        event = AuthEvent(
            Outcome.ACCEPTED, now, counted_source(source), network_of(source), record.public_key, record.pair_id
        )
        if len(cached.events) < _MAX_SOURCES:
            cached.events[source] = event
        return event
