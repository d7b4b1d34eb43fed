"""Logs of a worker's processes: to stderr, in UTC, one line an event, bounded for events that strangers cause."""

import logging
import time
from collections.abc import Callable

_AT_ONCE = 10  # lines of one kind a second
_KINDS = 256  # kinds kept apart; kinds are texts of code, so there are never so many


def log_to_stderr(level: int | str, *, bounded: bool = False) -> None:
    """Set the root logger up. `bounded`: for a process whose lines strangers can cause."""
    logging.Formatter.converter = time.gmtime
    logging.basicConfig(
        level=level,
        format="%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s: %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S",
    )
    if bounded:
        for handler in logging.getLogger().handlers:
            handler.addFilter(RepeatFilter(time.monotonic))


class RepeatFilter(logging.Filter):
    """Drops what is logged more than ten times in a second by one line of code, and says how much was dropped."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__()
        self._clock = clock
        self._seen: dict[tuple[str, int, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a record is written."""
        kind = (record.name, record.levelno, str(record.msg)[:200])
        now = self._clock()
        since, count = self._seen.get(kind, (now, 0))
        if now - since >= 1:
            if count > _AT_ONCE:
                record.msg = f"{record.msg} [and {count - _AT_ONCE} more like this not written]"
            since, count = now, 0
        if len(self._seen) >= _KINDS and kind not in self._seen:
            self._seen.clear()
        self._seen[kind] = (since, count + 1)
        return count < _AT_ONCE
