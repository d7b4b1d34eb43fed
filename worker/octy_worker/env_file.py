"""PURE. Files of NAME=value lines, read as sh, systemd and Compose agree on them.

Here: what a line says, how a value is written, and which lines are refused because the three read them differently:
a worker that systemd starts must not have another password than the command that reads the same file. Not here: the
files themselves, and which variables there are. No fault repeats a value: it may be a secret.
"""

import re
import shlex
from collections.abc import Callable

from octy_middleware.errors import OctyError

_LINE = re.compile(r"(export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SHELL = frozenset("'\"\\$`&|;<>()")  # sh's own characters outside of quotes; Compose and systemd read most as they are
_IN_SINGLE = "put the value in single quotes"
_NOT_AGREED = "sh, systemd and Compose do not agree"


class EnvFileError(OctyError):
    """What is wrong with a line, and what to do. Lines count from 1; 0 is none."""

    def __init__(self, wrong: str, to_do: str, line: int = 0) -> None:
        super().__init__(wrong)
        self.wrong = wrong
        self.to_do = to_do
        self.line = line


def parse(text: str, wanted: Callable[[str], bool] = lambda _name: True) -> dict[str, str]:
    """Return the wanted variables; the last line of a name counts. Raises EnvFileError for the first wrong line.

    Values that are not wanted may be whatever ends on its line: they are other programs' business.
    """
    found = {}
    for number, line in enumerate(text.split("\n"), start=1):
        try:
            name, value = _read_line(line, wanted)
        except EnvFileError as error:
            raise EnvFileError(error.wrong, error.to_do, number) from None
        if name:
            found[name] = value
    return found


def write_value(value: str) -> str:
    """Return the value as it stands behind `NAME=`; raise EnvFileError where all three readers can't be given it."""
    for form in (value, f"'{value}'", f'"{value}"'):
        try:
            if _read_value(form) == value:
                return form
        except EnvFileError:
            continue
    raise EnvFileError(
        "the value can't be written so that sh, systemd and Compose read the same", "leave out quotes or backslashes"
    )


def _read_line(line: str, wanted: Callable[[str], bool]) -> tuple[str, str]:
    """Return name and value; an empty name where the line says nothing that is wanted."""
    if line.endswith("\r"):
        raise EnvFileError("it ends like a line of Windows, and sh keeps that end", "save the file with Unix line ends")
    if line.startswith("\ufeff"):
        raise EnvFileError("it begins with a byte order mark", "save the file as UTF-8 without a mark")
    stripped = line.strip(" \t")
    if stripped.startswith("#") and line.endswith("\\"):
        raise EnvFileError("systemd continues a comment that ends with a backslash", "leave the backslash out")
    if not stripped or stripped.startswith("#"):
        return "", ""
    match = _LINE.fullmatch(stripped)
    if match is None:
        raise EnvFileError("this is not NAME=value", "quote a value that has spaces, or correct the line")
    export, name, value = match.groups()
    if not wanted(name):
        _pass_over(value)
        return "", ""
    if export:
        raise EnvFileError(
            "systemd ignores lines with export", "leave the word out; sh exports all by `set -a; . FILE; set +a`"
        )
    return name, _read_value(value)


def _pass_over(value: str) -> None:
    try:
        shlex.split(value, comments=True)
    except ValueError:
        raise EnvFileError("the value does not end on its line", "close its quotes") from None


def _read_value(text: str) -> str:
    if text[:1] in ("'", '"'):
        return _read_quoted(text[0], text[1:])
    if " #" in text or "\t#" in text:
        raise EnvFileError(
            f"a comment behind a value: {_NOT_AGREED}; systemd reads it as part of the value",
            "put the comment on a line of its own, or the whole value in single quotes",
        )
    if " " in text or "\t" in text:
        raise EnvFileError("this is not NAME=value: sh ends the value at the space", _IN_SINGLE)
    if not text.isprintable() or _SHELL & set(text) or text.startswith(("#", "~")) or ":~" in text:
        raise EnvFileError(f"{_NOT_AGREED} on a special character outside of quotes", _IN_SINGLE)
    return text


def _read_quoted(quote: str, text: str) -> str:
    value, end, behind = text.partition(quote)
    if not end:
        raise EnvFileError("this is not NAME=value: its quotes do not close on the line", "close them")
    if behind:
        raise EnvFileError(
            f"{_NOT_AGREED} on what stands behind closing quotes",
            "put the whole value in one pair of quotes, and a comment on a line of its own",
        )
    if _CONTROL.search(value):
        raise EnvFileError("a control character stands in the value", "leave it out")
    if quote == '"' and set(value) & set("$`\\"):
        raise EnvFileError(f"{_NOT_AGREED} on $, ` and \\ in double quotes", _IN_SINGLE)
    if quote == "'" and value.endswith("\\"):
        raise EnvFileError(f"{_NOT_AGREED} on a backslash before the closing quote", "use another value")
    return value
