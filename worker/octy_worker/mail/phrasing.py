"""Text helpers of mail templates: a rate in words, and paragraphs wrapped at `WIDTH`, which mail programs keep."""

import re
import textwrap
from datetime import timedelta

from octy_worker.audit.checkpoints import MARK

WIDTH = 76
_UNITS = ((1, "second"), (60, "minute"), (3_600, "hour"), (86_400, "day"))
_BULLET = re.compile(r"^\s*(?:\* |\d+\. )?")


def rate(count: int, within: timedelta) -> str:
    """Return the rate of `count` events within a period as text: `about 12 a minute`."""
    seconds = within.total_seconds()
    if seconds < 1:
        return "all within one second"
    for size, name in _UNITS:
        events = (count - 1) * size / seconds
        if events >= 1:
            return f"about {round(events):,} {'an' if name == 'hour' else 'a'} {name}"
    return "less than one a day"


def wrap(text: str) -> str:
    """Wrap paragraphs; each is one line of a template. Links and checkpoints of the audit log are not broken."""
    lines = [_wrap_line(line.rstrip()) for line in text.splitlines()]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip() + "\n"


def _wrap_line(line: str) -> str:
    if line.startswith(MARK):
        return line
    indent = " " * (len(line) - len(_BULLET.sub("", line)))
    return textwrap.fill(line, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
