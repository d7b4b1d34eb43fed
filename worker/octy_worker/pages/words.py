"""PURE. Strangers' text in words that are safe to show.

Here: text in, text out. Not here: HTML; the templates escape by themselves (`renderer`).
"""

import re

_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-_])")
_REPLACEMENT = "\ufffd"


def plain(text: str, limit: int = 300) -> str:
    """Return one line that does nothing but show: no control, ANSI, bidi or invisible characters, at most `limit`.

    What can't be printed becomes U+FFFD, so that nobody takes a doctored text for a clean one.
    """
    shown = "".join(sign if sign.isprintable() else _REPLACEMENT for sign in _ANSI.sub(_REPLACEMENT, text[: 4 * limit]))
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"
