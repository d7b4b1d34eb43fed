"""PURE. Parsing and writing environment files (NAME=value), restricted to what sh, systemd and Compose read alike.

Other lines are rejected: a worker that systemd starts must not get another password than the command that reads the
same file. No error text repeats a value, because it may be a secret.
"""

import re
import shlex
from collections.abc import Callable

from octy_middleware.errors import OctyError

_LINE = re.compile(r"(export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SHELL = frozenset("'\"\\$`&|;<>()")  # special to sh outside of quotes; Compose and systemd read most literally
_USE_SINGLE_QUOTES = "put the value in single quotes"
_DISAGREE = "sh, systemd and Compose disagree"


class EnvFileError(OctyError):
    """What is wrong with a line, and what to do. Lines count from 1; 0: no line."""

    def __init__(self, wrong: str, to_do: str, line: int = 0) -> None:
        super().__init__(wrong)
        self.wrong = wrong
        self.to_do = to_do
        self.line = line


def parse(text: str, wanted: Callable[[str], bool] = lambda _name: True) -> dict[str, str]:
    """Return the wanted variables; the last line of a name counts. Raises EnvFileError for the first wrong line.

    The values of other variables may be anything that ends on its line: other programs read them.
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
    """Return the value quoted for the right side of `NAME=`. Raises EnvFileError if the readers would disagree."""
    for form in (value, f"'{value}'", f'"{value}"'):
        try:
            if _read_value(form) == value:
                return form
        except EnvFileError:
            continue
    raise EnvFileError(
        "no notation of this value is read alike by sh, systemd and Compose",
        "use a value without quotes or backslashes",
    )


def _read_line(line: str, wanted: Callable[[str], bool]) -> tuple[str, str]:
    """Return name and value; an empty name for comments, empty lines and other variables."""
    if line.endswith("\r"):
        raise EnvFileError(
            "it has a Windows line end, which sh takes as part of the value", "save the file with Unix line ends"
        )
    if line.startswith("\ufeff"):
        raise EnvFileError("it begins with a byte order mark", "save the file as UTF-8 without a byte order mark")
    stripped = line.strip(" \t")
    if stripped.startswith("#") and line.endswith("\\"):
        raise EnvFileError("systemd continues a comment that ends with a backslash", "remove the backslash")
    if not stripped or stripped.startswith("#"):
        return "", ""
    match = _LINE.fullmatch(stripped)
    if match is None:
        raise EnvFileError("this is not NAME=value", "quote a value that has spaces, or correct the line")
    export, name, value = match.groups()
    if not wanted(name):
        _check_quotes(value)
        return "", ""
    if export:
        raise EnvFileError(
            "systemd ignores lines with export",
            "remove `export`; sh exports all variables with `set -a; . FILE; set +a`",
        )
    return name, _read_value(value)


def _check_quotes(value: str) -> None:
    try:
        shlex.split(value, comments=True)
    except ValueError:
        raise EnvFileError("the value does not end on its line", "close its quotes") from None


def _read_value(text: str) -> str:
    if text[:1] in ("'", '"'):
        return _read_quoted(text[0], text[1:])
    if " #" in text or "\t#" in text:
        raise EnvFileError(
            f"a comment after a value: {_DISAGREE}; systemd reads it as part of the value",
            "put the comment on its own line, or the whole value in single quotes",
        )
    if " " in text or "\t" in text:
        raise EnvFileError("this is not NAME=value: sh ends the value at the space", _USE_SINGLE_QUOTES)
    if not text.isprintable() or _SHELL & set(text) or text.startswith(("#", "~")) or ":~" in text:
        raise EnvFileError(f"{_DISAGREE} about a special character outside of quotes", _USE_SINGLE_QUOTES)
    return text


def _read_quoted(quote: str, text: str) -> str:
    value, end, rest = text.partition(quote)
    if not end:
        raise EnvFileError("this is not NAME=value: its quotes do not close on the line", "close them")
    if rest:
        raise EnvFileError(
            f"{_DISAGREE} about text after closing quotes",
            "put the whole value in one pair of quotes, and a comment on its own line",
        )
    if _CONTROL.search(value):
        raise EnvFileError("the value contains a control character", "remove it")
    if quote == '"' and set(value) & set("$`\\"):
        raise EnvFileError(f"{_DISAGREE} about $, ` and \\ in double quotes", _USE_SINGLE_QUOTES)
    if quote == "'" and value.endswith("\\"):
        raise EnvFileError(f"{_DISAGREE} about a backslash before the closing quote", "use another value")
    return value
