"""Limits of failed log-ins, by handle and source and by source alone. No handle is ever locked out for others.

Codes can't be guessed without a key: the signature of a valid certificate comes first. The limits keep failed log-ins
from filling the audit log, and make guessing by somebody with a stolen key hopeless. They are kept in memory.
"""

import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from octy_middleware.http.client_address import counted_source

TOLD_AFTER = 5
"""Failures in a row, by handle and source, after which the admins are told."""
_DELAYED_AFTER = 5  # failures in a row by handle and source; then one attempt in each delay
_SOURCE_DELAYED_AFTER = 20  # by source, whatever the handles
_DELAY = 60.0  # seconds
_BUSY = 1.0  # seconds to wait for attempts that are being judged
_FORGOTTEN_AFTER = 900.0  # seconds without a failure
_MAX_UNNAMED = 100  # wrong codes without a person, in an hour, that are recorded
_HOUR = 3600.0
_MAX_ENTRIES = 10_000  # of memory; the entry that failed longest ago is dropped


class TooManyLoginsError(Exception):
    """Too many failed log-ins. `wait`: seconds until the next one is judged."""

    def __init__(self, wait: float) -> None:
        super().__init__(f"too many failed log-ins; wait {wait:.0f} s")
        self.wait = wait


@dataclass(slots=True)
class _Failures:
    count: int
    last_at: float


class LoginLimits:
    """Counts failures in a row. `now`: seconds. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failures: OrderedDict[tuple[str, str], _Failures] = OrderedDict()
        self._judged: Counter[tuple[str, str]] = Counter()  # attempts that are being judged now
        self._unnamed: deque[float] = deque(maxlen=_MAX_UNNAMED)  # when wrong codes without a person were recorded

    @contextmanager
    def attempt(self, handle: str, source: str, now: float) -> Iterator[None]:
        """Count an attempt as failed while it is judged, so that many at once can't all pass.

        Raises TooManyLoginsError for one that may not be made yet.
        """
        counted = counted_source(source)
        keys = ((handle, counted), ("", counted))
        with self._lock:
            wait = max(self._wait(keys[0], _DELAYED_AFTER, now), self._wait(keys[1], _SOURCE_DELAYED_AFTER, now))
            if wait:
                raise TooManyLoginsError(wait)
            self._judged.update(keys)
        try:
            yield
        finally:
            with self._lock:
                self._judged -= Counter(keys)  # keeps no zeros

    def fail(self, handle: str, source: str, now: float) -> int:
        """Count a failure; return how many there were in a row, by handle and source."""
        counted = counted_source(source)
        with self._lock:
            self._count(("", counted), now)
            return self._count((handle, counted), now)

    def may_record_unnamed(self, now: float) -> bool:
        """Return whether the audit log has room for one more failure that names no person: everybody can cause them.

        Limits by source don't hold against somebody with many addresses.
        """
        with self._lock:
            if len(self._unnamed) == _MAX_UNNAMED and now - self._unnamed[0] < _HOUR:
                return False
            self._unnamed.append(now)
            return True

    def succeed(self, handle: str, source: str) -> None:
        """Forget this person's failures from there; those of others from the same source stay."""
        with self._lock:
            self._failures.pop((handle, counted_source(source)), None)

    def _wait(self, key: tuple[str, str], delayed_after: int, now: float) -> float:
        known, judged = self._known(key, now), self._judged[key]
        failed = 0 if known is None else known.count
        if failed + judged < delayed_after:
            return 0.0
        delay = 0.0 if known is None or failed < delayed_after else max(0.0, known.last_at + _DELAY - now)
        return max(delay, _BUSY) if judged else delay

    def _count(self, key: tuple[str, str], now: float) -> int:
        known = self._known(key, now)
        count = 1 if known is None else known.count + 1
        self._failures[key] = _Failures(count, now)
        self._failures.move_to_end(key)
        while len(self._failures) > _MAX_ENTRIES:
            self._failures.popitem(last=False)
        return count

    def _known(self, key: tuple[str, str], now: float) -> _Failures | None:
        known = self._failures.get(key)
        return None if known is None or now - known.last_at > _FORGOTTEN_AFTER else known
