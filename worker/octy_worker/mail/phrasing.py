"""PURE. Numbers and times in words, and lines of a width that mail programs leave alone.

Here: how a time, a span, a pace and a paragraph are written. Not here: sentences, which are in the templates.
"""

import re
import textwrap
from datetime import datetime, timedelta

WIDTH = 76
_UNITS = ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))
_PACES = ((1, "second"), (60, "minute"), (3_600, "hour"), (86_400, "day"))
_DAYS_FROM = 3 * 86_400  # "24 hours" and "48 hours" say more than "1 day"
_BULLET = re.compile(r"\s*(?:\* |\d+\. )?")


def moment(time: datetime) -> str:
    """Return `2026-02-03 14:15:16 UTC`."""
    return f"{time:%Y-%m-%d %H:%M:%S} UTC"


def span(seconds: float) -> str:
    """Return a span in its largest whole unit: `24 hours`, `14 days`, `90 minutes`."""
    whole = max(round(seconds), 1)
    for size, name in _UNITS:
        if whole % size == 0 and not (name == "day" and whole < _DAYS_FROM):
            return amount(whole // size, name)
    raise AssertionError(whole)  # every whole number is a multiple of one second


def amount(number: int, noun: str) -> str:
    """Return `1 attempt`, `2 attempts`, `12,000 attempts`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def pace(count: int, within: timedelta) -> str:
    """Return how fast `count` events followed each other within that time: `about 12 a minute`."""
    seconds = within.total_seconds()
    if seconds < 1:
        return "all within one second"
    for size, name in _PACES:
        rate = (count - 1) * size / seconds
        if rate >= 1:
            return f"about {round(rate):,} {'an' if name == 'hour' else 'a'} {name}"
    return "less than one a day"


def wrapped(text: str) -> str:
    """Wrap paragraphs, each of which is one line of a template. A link is never broken, and stands alone."""
    lines = [_wrapped_line(line.rstrip()) for line in text.splitlines()]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip() + "\n"


def _wrapped_line(line: str) -> str:
    indent = " " * len(_match_bullet(line))
    return textwrap.fill(line, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _match_bullet(line: str) -> str:
    match = _BULLET.match(line)
    return match[0] if match else ""
