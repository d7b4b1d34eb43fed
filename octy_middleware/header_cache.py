"""The header cache: Authorization values that were right a moment ago, with the verdict that they lead to.

Here: a bounded map from a keyed digest of the whole value, so that no secret stands in memory in clear. Not here:
whether the pair is still live: its record is looked at each time (`gate`).
"""

import secrets
from hashlib import blake2b
from itertools import islice

from octy_middleware.entries import Entry
from octy_middleware.forking import restart_after_fork
from octy_middleware.keyring import KeyRecord
from octy_middleware.verdict import Verdict

_EVICTED = 64  # headers that make room at once
_SOURCES = 64  # sources of one header whose entries are kept for the second


class Known:
    """A header that was right: its record as memory had it, the verdict, and this second's entries by source."""

    __slots__ = ("entries", "key", "packed", "record", "second", "verdict")

    def __init__(self, record: KeyRecord, packed: bytes, verdict: Verdict) -> None:
        self.record = record
        self.key = record.public_key.encode()
        self.packed = packed
        self.verdict = verdict
        self.second = 0
        self.entries: dict[str, Entry] = {}

    def entry_of(self, source: str, now: float) -> Entry | None:
        """Return the entry of this source in this second, if there is one already."""
        second = int(now)
        if second != self.second or len(self.entries) > _SOURCES:
            self.second = second
            self.entries = {}
        return self.entries.get(source)


class HeaderCache:
    """At most `size` headers. Safe for threads; starts anew in a forked child."""

    def __init__(self, size: int) -> None:
        self._size = size
        self.restart()
        restart_after_fork(self)

    def restart(self) -> None:
        """Know nothing, under another key."""
        self._state = blake2b(key=secrets.token_bytes(32), digest_size=16)
        self._known: dict[bytes, Known] = {}

    def recall(self, value: bytes) -> Known | None:
        """Return what is known of an Authorization value, byte for byte."""
        state = self._state.copy()
        state.update(value)
        return self._known.get(state.digest())

    def remember(self, value: bytes, known: Known) -> None:
        """Know a value from now on; the oldest ones make room."""
        state = self._state.copy()
        state.update(value)
        if len(self._known) >= self._size:
            for oldest in list(islice(self._known, min(_EVICTED, self._size))):
                self._known.pop(oldest, None)
        self._known[state.digest()] = known
