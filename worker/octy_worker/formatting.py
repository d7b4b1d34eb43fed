"""Times, durations, numbers and sources as text, for mails, pages and the `octy` command. Pure functions."""

from collections.abc import Sequence
from datetime import datetime

from octy_middleware.http.client_address import UNIX, UNKNOWN
from octy_middleware.http.event import OVERFLOW

SOURCES_SHOWN = 5
"""How many sources of an incident mails and pages list; the rest is summed up."""

_MAX_IDS = 5
_ORIGINS = {OVERFLOW: "many other addresses", UNKNOWN: "an unknown address", UNIX: "a local connection"}
_UNITS = (("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1))
_DAYS_FROM = 3 * 86_400  # "24 hours" and "48 hours" say more than "1 day"


def format_time(at: datetime) -> str:
    """Return a UTC time to the second."""
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


def format_duration(seconds: float) -> str:
    """Return a duration in its largest whole unit: `24 hours`, `7 days`, `90 minutes`."""
    whole = max(0, round(seconds))
    for name, size in _UNITS:
        if whole >= size and whole % size == 0 and not (name == "day" and whole < _DAYS_FROM):
            return format_count(whole // size, name)
    return format_count(whole, "second")


def format_count(count: int, noun: str) -> str:
    """Return "1 attempt", "2 attempts", "12,000 attempts"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def format_source(source: str) -> str:
    """Return a source as text: an address or network unchanged, others in words."""
    return _ORIGINS.get(source, source)


def format_ids(ids: Sequence[object]) -> str:
    """Return the first ids, and how many more there are."""
    listed = ", ".join(map(str, ids[:_MAX_IDS]))
    return f"{listed} and {len(ids) - _MAX_IDS} more" if len(ids) > _MAX_IDS else listed
