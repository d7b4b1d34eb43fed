"""PURE. Text that strangers wrote, made harmless before it enters a mail that people trust.

Here: the two ways in, for what a request said of itself and for names of people. Not here: HTML escaping, which
the templates do for every text.

What is made is a `Harmless`; the facts of letters take nothing else, so the type checker finds what was forgotten.
"""

import re
import unicodedata
from typing import NewType

Harmless = NewType("Harmless", str)

_ESCAPES = re.compile(
    r"\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?"  # OSC: titles, links
    r"|[\x1b\x9b]\[?[0-?]*[ -/]*[@-~]?"  # CSI: colours, cursor; and what is left of a broken one
)
_NOT_PLAIN = re.compile(r"[^\x20-\x7e]")
_LINKED_DOT = re.compile(r"\.(?=[A-Za-z]{2})|(?<=\bwww)\.", re.IGNORECASE)
_NAME_SIGNS = " '’.-"
_CUT_BRACKET = re.compile(r"\[[^\]]{0,3}$")  # half of a bracketed sign
_NAME_LIMIT = 40
_NAME_WORDS = 4
_MARKS_IN_A_ROW = 2


def harmless(text: str, limit: int) -> Harmless:
    """Return one line of at most `limit` printable ASCII characters that no mail program turns into a link.

    Control characters, line ends and terminal escapes go; other alphabets, bidi controls among them, become "?".
    What programs link by themselves is written as security people write it: `hxxp[:]//evil[.]example`.
    """
    plain = _NOT_PLAIN.sub(_stand_in, _ESCAPES.sub("", text))
    line = " ".join(plain.replace("\\", "/").split())
    line = re.sub(r"\bhttp(?=s?:)", "hxxp", line, flags=re.IGNORECASE).replace("://", "[:]//")
    line = _LINKED_DOT.sub("[.]", line.replace("@", "[at]"))
    return Harmless(line if len(line) <= limit else _CUT_BRACKET.sub("", line[: limit - 3]).rstrip() + "...")


def _stand_in(match: re.Match[str]) -> str:
    kind = unicodedata.category(match[0])
    if kind.startswith("Z") or match[0] in "\t\r\n\v\f\x85":
        return " "
    return "" if kind == "Cc" else "?"


def harmless_name(name: str) -> Harmless:
    """Return a person's name to greet with, or nothing when it is more than a name.

    A name can be changed with the API keys themselves, so it must not carry a message: at most four words of letters
    of any alphabet, apostrophes, hyphens and the dot that ends an initial are taken.
    """
    name = " ".join(unicodedata.normalize("NFC", name).split())
    letters_only = all(char in _NAME_SIGNS or unicodedata.category(char)[0] in "LM" for char in name)
    shape = "".join("\0" if unicodedata.category(char)[0] == "M" else char for char in name)
    is_name = (
        letters_only
        and len(name) <= _NAME_LIMIT
        and len(name.split()) <= _NAME_WORDS
        and "\0" * (_MARKS_IN_A_ROW + 1) not in shape
        and not re.search(r"\.\S", name)
    )
    return Harmless(name if is_name else "")
