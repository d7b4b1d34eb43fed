"""What is past its time, as limits in the units of the columns.

Here: settings and a time -> limits. Not here: rows.
"""

from dataclasses import dataclass

from octy_middleware.clock import to_micros
from octy_worker.settings import RetentionSettings
from octy_workflows.messages import DAY

MINUTES = 1440
"""Minutes of a UTC day."""

_MESSAGES = _CHANGES = _SECRETS = 30 * DAY  # nobody reads delivered messages; the feed's readers look every second


@dataclass(frozen=True, slots=True)
class Limits:
    """What is before one of these goes: microseconds since 1970, for counters minutes at which a UTC day begins."""

    attempts: int
    messages: int
    changes: int
    secrets: int
    counters: int
    compaction: int
    decoys: int


def limits_at(now: float, settings: RetentionSettings) -> Limits:
    """Return the limits of a run that began at `now`. A day's counters go, or shrink, when all of the day is due."""
    return Limits(
        attempts=to_micros(now - settings.keep_attempts_days * DAY),
        messages=to_micros(now - _MESSAGES),
        changes=to_micros(now - _CHANGES),
        # Until a delivery is abandoned, staff can renew its link; from then on nobody could open the secret.
        secrets=to_micros(now - max(_SECRETS, settings.collect_abandon_after)),
        counters=_day_of(now - settings.keep_counters_days * DAY),
        compaction=_day_of(now - settings.compact_counters_after_days * DAY),
        decoys=to_micros(now - DAY),
    )


def _day_of(time: float) -> int:
    """Return the first minute of the UTC day."""
    return int(time // DAY) * MINUTES
