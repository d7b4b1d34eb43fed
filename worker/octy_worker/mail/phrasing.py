"""PURE. A pace in words, and lines of a width that mail programs leave alone.

Here: how a pace and a paragraph are written. Not here: sentences, which are in the templates.
"""

import re
import textwrap
from datetime import timedelta

WIDTH = 76
_UNITS = ((1, "second"), (60, "minute"), (3_600, "hour"), (86_400, "day"))
_BULLET = re.compile(r"\s*(?:\* |\d+\. )?")


def rate(count: int, within: timedelta) -> str:
    """Return how fast `count` events followed each other within that time: `about 12 a minute`."""
    seconds = within.total_seconds()
    if seconds < 1:
        return "all within one second"
    for size, name in _UNITS:
        rate = (count - 1) * size / seconds
        if rate >= 1:
            return f"about {round(rate):,} {'an' if name == 'hour' else 'a'} {name}"
    return "less than one a day"


def wrap(text: str) -> str:
    """Wrap paragraphs, each of which is one line of a template. A link is never broken, and stands alone."""
    lines = [_wrap_line(line.rstrip()) for line in text.splitlines()]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip() + "\n"


def _wrap_line(line: str) -> str:
    indent = " " * len(_match_bullet(line))
    return textwrap.fill(line, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _match_bullet(line: str) -> str:
    match = _BULLET.match(line)
    return match[0] if match else ""
