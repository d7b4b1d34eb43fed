"""Logging of the worker's processes: to stderr, UTC, one line an event, rate-limited where clients can cause events."""

import logging
import time
from collections.abc import Callable

_MAX_PER_SECOND = 10  # lines of one kind
_MAX_KINDS = 256  # message templates; our code has fewer


def log_to_stderr(level: int | str, *, rate_limited: bool = False) -> None:
    """Configure the root logger. `rate_limited`: for a process in which clients can cause log lines."""
    logging.Formatter.converter = time.gmtime
    logging.basicConfig(
        level=level,
        format="%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s: %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S",
    )
    if rate_limited:
        for handler in logging.getLogger().handlers:
            handler.addFilter(RateLimitFilter(time.monotonic))


class RateLimitFilter(logging.Filter):
    """Drops lines of one kind beyond ten a second, and logs how many were dropped."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__()
        self._clock = clock
        self._seen: dict[tuple[str, int, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is written."""
        kind = (record.name, record.levelno, str(record.msg)[:200])
        now = self._clock()
        since, count = self._seen.get(kind, (now, 0))
        if now - since >= 1:
            if count > _MAX_PER_SECOND:
                record.msg = f"{record.msg} [{count - _MAX_PER_SECOND} more lines of this kind were dropped]"
            since, count = now, 0
        if len(self._seen) >= _MAX_KINDS and kind not in self._seen:
            self._seen.clear()
        self._seen[kind] = (since, count + 1)
        return count < _MAX_PER_SECOND
