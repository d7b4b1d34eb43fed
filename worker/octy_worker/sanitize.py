"""Makes untrusted text (user agents, names, sources) safe to show in mails, on pages and in terminals.

Each output has its own function, because each output interprets other characters. HTML is escaped by the templates.
The middleware sanitizes what it records by itself (`octy_middleware.http.event`).
"""

import re
import unicodedata
from typing import NewType

MailText = NewType("MailText", str)
"""Text that is safe in a mail. The facts of mails take no other text, so mypy finds what is not sanitized."""

_TERMINAL_ESCAPES = re.compile(
    r"\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?"  # OSC: titles, links
    r"|[\x1b\x9b]\[?[0-?]*[ -/]*[@-~]?"  # CSI: colours, cursor; and incomplete sequences
)
_NOT_PRINTABLE_ASCII = re.compile(r"[^\x20-\x7e]")
_LINKED_DOT = re.compile(r"\.(?=[A-Za-z]{2})|(?<=\bwww)\.", re.IGNORECASE)
_CUT_BRACKET = re.compile(r"\[[^\]]{0,3}$")  # a cut "[.]" or "[at]"
_NAME_CHARACTERS = " '’.-"
_MAX_NAME_LENGTH = 40
_MAX_NAME_WORDS = 4
_MAX_COMBINING_MARKS = 2  # in a row

_PAGE_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-_])")
_REPLACEMENT = "\ufffd"

_UNSAFE_CATEGORIES = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp", "Zs"})


def for_mail(text: str, limit: int) -> MailText:
    """Return one line of at most `limit` printable ASCII characters that no mail program turns into a link.

    Control characters, line ends and terminal escapes are removed; other alphabets and bidi controls become "?".
    Links are written as security reports write them: `hxxp[:]//evil[.]example`.
    """
    printable = _NOT_PRINTABLE_ASCII.sub(_replace, _TERMINAL_ESCAPES.sub("", text))
    line = " ".join(printable.replace("\\", "/").split())
    line = re.sub(r"\bhttp(?=s?:)", "hxxp", line, flags=re.IGNORECASE).replace("://", "[:]//")
    line = _LINKED_DOT.sub("[.]", line.replace("@", "[at]"))
    return MailText(line if len(line) <= limit else _CUT_BRACKET.sub("", line[: limit - 3]).rstrip() + "...")


def _replace(match: re.Match[str]) -> str:
    category = unicodedata.category(match[0])
    if category.startswith("Z") or match[0] in "\t\r\n\v\f\x85":
        return " "
    return "" if category == "Cc" else "?"


def name_for_mail(name: str) -> MailText:
    """Return a person's name for a greeting, or "" when the text is more than a name.

    A name can be changed with the API keys, so it must not carry a message. Allowed are at most four words of letters
    of any alphabet, apostrophes, hyphens, and a dot at the end of an initial.
    """
    name = " ".join(unicodedata.normalize("NFC", name).split())
    letters_only = all(char in _NAME_CHARACTERS or unicodedata.category(char)[0] in "LM" for char in name)
    marks = "".join("\0" if unicodedata.category(char)[0] == "M" else char for char in name)
    is_name = (
        letters_only
        and len(name) <= _MAX_NAME_LENGTH
        and len(name.split()) <= _MAX_NAME_WORDS
        and "\0" * (_MAX_COMBINING_MARKS + 1) not in marks
        and not re.search(r"\.\S", name)
    )
    return MailText(name if is_name else "")


def for_page(text: str, limit: int = 300) -> str:
    """Return one line of at most `limit` printable characters: no control, ANSI, bidi or invisible characters.

    Each removed part becomes U+FFFD, so that a reader sees that the text was changed.
    """
    shown = "".join(
        char if char.isprintable() else _REPLACEMENT for char in _PAGE_ESCAPES.sub(_REPLACEMENT, text[: 4 * limit])
    )
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def for_terminal(text: str) -> str:
    r"""Return the text with control, bidi and invisible characters as visible escapes, such as `\x1b`."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_visible(char) for char in text)


def _visible(char: str) -> str:
    if char == " " or unicodedata.category(char) not in _UNSAFE_CATEGORIES:
        return char
    return char.encode("unicode_escape").decode()
