"""PURE. Times, lengths of time and strangers' text in words that are safe to show.

Here: text in, text out. Not here: HTML; the templates escape by themselves (`render`).
"""

import re
from datetime import datetime

_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-_])")
_UNITS = (("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1))
_HOURS_UP_TO = 172_800  # "24 hours" is clearer than "1 day"
_REPLACEMENT = "\ufffd"


def plain(text: str, limit: int = 300) -> str:
    """Return one line that does nothing but show: no control, ANSI, bidi or invisible characters, at most `limit`.

    What can't be printed becomes U+FFFD, so that nobody takes a doctored text for a clean one.
    """
    shown = "".join(sign if sign.isprintable() else _REPLACEMENT for sign in _ANSI.sub(_REPLACEMENT, text[: 4 * limit]))
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def moment(at: datetime) -> str:
    """Return a UTC time to the second, the same in every country."""
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


def span(seconds: float) -> str:
    """Return a length of time in its largest whole unit: "24 hours", "7 days", "90 minutes"."""
    whole = max(0, round(seconds))
    for name, size in _UNITS:
        if whole >= size and whole % size == 0 and not (name == "day" and whole < _HOURS_UP_TO):
            return amount(whole // size, name)
    return amount(whole, "second")


def amount(count: int, noun: str) -> str:
    """Return "1 attempt", "2 attempts", "12,000 attempts"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
