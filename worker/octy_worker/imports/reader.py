"""Reader of import files: CSV (RFC 4180, with a header) or JSON lines, in UTF-8, into rows. No I/O but the given file.

No error repeats content of the file: it may be a hash or a secret.
"""

import csv
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, BinaryIO

from octy_middleware.domain.accounts import CONTACT_FIELDS

NEEDED = ("reference", "contact_email_address", "public_key", "secret_hash")
COLUMNS = (*NEEDED, *(name for name in CONTACT_FIELDS if name not in NEEDED), "created_at")

_BOM = b"\xef\xbb\xbf"
_LONGEST_LINE = 65_536  # bytes
_UNREADABLE = "the rest of the file was not read"


@dataclass(frozen=True, slots=True)
class Row:
    """One pair as the file has it: its line, from 1, and a text for every column; empty where there is none."""

    line: int
    fields: dict[str, str]


@dataclass(frozen=True, slots=True)
class RowError:
    """What is wrong with a line, and what to do. `column` is empty when it is the whole line."""

    line: int
    column: str
    wrong: str
    to_do: str = ""


class _StopError(Exception):
    """The rest of the file can't be read."""

    def __init__(self, line: int, wrong: str, to_do: str) -> None:
        super().__init__(wrong)
        self.error = RowError(line, "", wrong, to_do)


def read_rows(file: BinaryIO) -> Iterator[Row | RowError]:
    """Return rows and errors in the order of the file. A file that begins with `{` is JSON lines, any other CSV."""
    lines = _Lines(file)
    try:
        first = _first_of(lines)
        yield from (_read_json if first.startswith("{") else _read_csv)(first, lines)
    except _StopError as stopped:
        yield stopped.error


def rows_digest(file: BinaryIO) -> str:
    """Return the SHA-256 of a file's valid rows in hex, as `RowsDigest` computes it."""
    digest = RowsDigest()
    for found in read_rows(file):
        if isinstance(found, Row):
            digest.add(found)
    return digest.hex()


class RowsDigest:
    """SHA-256 of rows, whatever the form of the file: CSV and JSON lines with the same rows have the same."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def add(self, row: Row) -> None:
        """Add the next row."""
        self._hash.update(json.dumps(row.fields, sort_keys=True).encode() + b"\n")

    def hex(self) -> str:
        """Return the digest in hex."""
        return self._hash.hexdigest()


def _first_of(lines: "_Lines") -> str:
    """Return the first line that is not blank."""
    first = next((line for line in lines if line.strip()), "")
    if not first:
        raise _empty()
    if first.lstrip().startswith("["):
        raise _StopError(lines.number, "this is a JSON array", "write one object a line: `jq -c '.[]'` does it")
    return first.lstrip()


def _empty() -> _StopError:
    return _StopError(1, "the file is empty", f"give a header with {', '.join(NEEDED)}, and rows")


class _Lines(Iterator[str]):
    """The lines of a file with their ends, and the number of the last one."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.number = 0

    def __next__(self) -> str:
        line = self._file.readline(_LONGEST_LINE + 1)
        if not line:
            raise StopIteration
        self.number += 1
        if len(line) > _LONGEST_LINE:
            raise _StopError(self.number, f"the line is longer than {_LONGEST_LINE} bytes", _UNREADABLE)
        try:
            return (line.removeprefix(_BOM) if self.number == 1 else line).decode()
        except UnicodeDecodeError:
            raise _StopError(self.number, "this is not UTF-8 text", "save the file as UTF-8") from None


def _read_csv(first: str, lines: _Lines) -> Iterator[Row | RowError]:
    records = _records(first, lines)
    line, header = next(records, (0, []))
    if not header:
        raise _empty()
    names = _without_nameless(header)
    errors = list(_errors_of_header(line, names))
    if errors:
        yield from errors
        return
    rows = 0
    for line, cells in records:
        rows += 1
        if len(names) < len(cells) and not any(cell.strip() for cell in cells[len(names) :]):
            del cells[len(names) :]  # spreadsheets end each line with a comma where a column was emptied
        if len(cells) != len(names):
            wrong = f"the row has {len(cells)} cells, the header {len(names)}"
            yield RowError(line, "", wrong, "quote cells that hold commas, as argon2 hashes do, or line ends")
        else:
            yield _row(line, dict(zip(names, cells, strict=True)))
    if not rows:
        raise _StopError(line + 1, "there is a header but no row", "check the export")


def _records(first: str, lines: _Lines) -> Iterator[tuple[int, list[str]]]:
    """Return the records of a CSV file, each with the line that it begins on.

    Empty lines are none, and neither are rows of empty cells, which spreadsheets write where something was deleted.
    """
    begins = lines.number

    def again() -> Iterator[str]:
        yield first
        yield from lines

    try:
        for cells in csv.reader(again(), strict=True):
            if any(cell.strip() for cell in cells):
                yield begins, cells
            begins = lines.number + 1
    except csv.Error:
        wrong = "this is not CSV (RFC 4180)"
        raise _StopError(begins, wrong, f"look for a stray quote or line end; {_UNREADABLE}") from None


def _without_nameless(header: Sequence[str]) -> list[str]:
    """Return the names of the columns without those at the end that have none."""
    names = [cell.strip() for cell in header]
    while names and not names[-1]:
        del names[-1]
    return names


def _errors_of_header(line: int, names: Sequence[str]) -> Iterator[RowError]:
    if not set(names) & set(COLUMNS):
        to_do = f"begin the file with the names of its columns, with commas between: {','.join(NEEDED)}"
        yield RowError(line, "", "this is not a header", to_do)
        return
    for number, name in enumerate(names, start=1):
        if name not in COLUMNS:
            yield RowError(line, "", f"column {number} of the header has no known name", _suggest(name))
        elif name in names[: number - 1]:
            yield RowError(line, name, "is in the header twice", "remove one")
    for name in NEEDED:
        if name not in names:
            yield RowError(line, name, "is missing in the header", "add the column")


def _suggest(name: str) -> str:
    """Return what to do about an unknown name; it is not repeated, for without a header it is a row's content."""
    close = get_close_matches(name[:60], COLUMNS, n=1)
    return f"is it {close[0]}?" if close else f"there are {', '.join(COLUMNS)}"


def _read_json(first: str, lines: _Lines) -> Iterator[Row | RowError]:
    line: str | None = first
    while line is not None:
        if line.strip():
            yield _read_object(lines.number, line)
        line = next(lines, None)


def _read_object(number: int, line: str) -> Row | RowError:
    try:
        found = json.loads(line, object_pairs_hook=_Members)
    except (ValueError, RecursionError):
        return RowError(number, "", "this is not JSON", "write one object a line")
    if not isinstance(found, _Members):
        return RowError(number, "", "this is not a JSON object", "write one object a line")
    names = [name for name, _ in found]
    for name, value in found:
        if name not in COLUMNS:
            return RowError(number, "", "a member has no known name", _suggest(name))
        if names.count(name) > 1:
            return RowError(number, name, "is given twice", "remove one")
        if not isinstance(value, str | None):
            return RowError(number, name, "is not a string", "use a JSON string")
    return _row(number, {name: value or "" for name, value in found})


class _Members(list[tuple[str, Any]]):
    """The members of a JSON object in their order, repeated names too."""


def _row(line: int, found: dict[str, str]) -> Row:
    return Row(line, {name: found.get(name, "").strip() for name in COLUMNS})
