"""Parses the demo's input: a CSV file of log-in attempts (RFC 4180, UTF-8 with or without BOM, empty rows ignored).

Each error has line and column.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv4Address, IPv6Address, ip_address

from octy_middleware.errors import InvalidInputError

COLUMNS = ("at", "user", "source", "outcome")
_OUTCOMES = {"accepted": True, "refused": False}
_USER_LIMIT = 200  # characters; the user becomes an account's reference
_FIELD = re.compile(r'"([^"]*(?:""[^"]*)*)"|([^",\r\n]*)')
_FIELD_END = re.compile(r",|\r\n|\n|\r|\Z")
_SHOWN = 60  # characters of a wrong value that an error repeats


class DataFileError(InvalidInputError):
    """The file is invalid. `line` and `column` count from 1; column 0 is the whole line."""

    def __init__(self, line: int, column: int, what: str) -> None:
        name = f" ({COLUMNS[column - 1]})" if 0 < column <= len(COLUMNS) else ""
        place = f"line {line}" + (f", column {column}{name}" if column else "")
        super().__init__(f"{place}: {what}")
        self.line = line
        self.column = column


@dataclass(frozen=True, slots=True)
class Row:
    """One attempt. `number` counts data rows from 1."""

    number: int
    at: datetime
    user: str
    source: IPv4Address | IPv6Address
    accepted: bool


def parse(content: bytes) -> tuple[Row, ...]:
    """Return the rows of a file, in order. Raises DataFileError for the first error."""
    records = _records(_decode(content))
    line, header = next(records, (1, []))
    if not header:
        raise DataFileError(line, 0, f"the file is empty; its first line must be {','.join(COLUMNS)}")
    _check_header(line, header)
    rows = tuple(_row(number, line, fields) for number, (line, fields) in enumerate(records, start=1))
    if not rows:
        raise DataFileError(line, 0, "the file has a header and no rows")
    return rows


def _decode(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start]
        line_start = max(before.rfind(b"\n"), before.rfind(b"\r")) + 1
        line = len(re.findall(rb"\r\n|\n|\r", before)) + 1
        raise DataFileError(line, before.count(b",", line_start) + 1, "this is not UTF-8 text") from None


def _records(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield each record with its first line number."""
    position, line = 0, 1
    while position < len(text):
        first_line, fields, separator = line, list[str](), ","
        while separator == ",":
            field = _FIELD.match(text, position)
            assert field is not None  # it matches the empty text too
            end = _FIELD_END.match(text, field.end())
            if end is None:
                raise DataFileError(line, len(fields) + 1, "quotes must enclose the whole value, doubled inside")
            fields.append(field[2] if field[1] is None else field[1].replace('""', '"'))
            line += len(re.findall(r"\r\n|\n|\r", field[0]))
            separator, position = end[0], end.end()
        line += 1
        if any(field.strip() for field in fields):
            yield first_line, _without_nameless(fields)


def _without_nameless(fields: list[str]) -> list[str]:
    """Remove the empty columns that spreadsheets add after the last one."""
    while len(fields) > len(COLUMNS) and not fields[-1].strip():
        del fields[-1]
    return fields


def _check_header(line: int, header: list[str]) -> None:
    for column, (found, wanted) in enumerate(zip(header, COLUMNS, strict=False), start=1):
        if found != wanted:
            raise DataFileError(line, column, f"the header must be {','.join(COLUMNS)}, not {_shown(found)} here")
    _check_width(line, header)


def _check_width(line: int, fields: list[str]) -> None:
    if len(fields) < len(COLUMNS):
        raise DataFileError(line, len(fields) + 1, "this column is missing")
    if len(fields) > len(COLUMNS):
        raise DataFileError(line, len(COLUMNS) + 1, f"too many columns: there must be {len(COLUMNS)}")


def _row(number: int, line: int, fields: list[str]) -> Row:
    _check_width(line, fields)
    at, user, source, outcome = fields
    return Row(number, _time(line, at), _user(line, user), _source(line, source), _outcome(line, outcome))


def _time(line: int, text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise DataFileError(
            line, 1, f"{_shown(text)} is not an ISO 8601 time with an offset, such as 2017-03-27T13:08:09Z"
        )
    return at


def _user(line: int, text: str) -> str:
    if not 0 < len(text) <= _USER_LIMIT or not text.isprintable() or text != text.strip():
        raise DataFileError(
            line,
            2,
            f"{_shown(text)} is not a valid user: use 1 to {_USER_LIMIT} printable characters, no space at the ends",
        )
    return text


def _source(line: int, text: str) -> IPv4Address | IPv6Address:
    try:
        address = ip_address(text)
    except ValueError:
        address = None
    if address is None or "%" in text:
        raise DataFileError(line, 3, f"{_shown(text)} is not an IPv4 or IPv6 address")
    return address


def _outcome(line: int, text: str) -> bool:
    if text not in _OUTCOMES:
        raise DataFileError(line, 4, f"{_shown(text)} is neither {' nor '.join(_OUTCOMES)}")
    return _OUTCOMES[text]


def _shown(text: str) -> str:
    """Return the value for an error text: escaped and shortened."""
    return ascii(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")
