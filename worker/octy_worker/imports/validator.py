"""Validation of the rows of an import: each by itself, and its public key against the rows before it.

The rules are those of accounts and key pairs that are created here. No error repeats content of the row.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from octy_middleware.clock import EPOCH, utc
from octy_middleware.domain.accounts import CONTACT_FIELDS, checked_contact, checked_reference
from octy_middleware.errors import InvalidInputError
from octy_middleware.http.credentials import is_public_key
from octy_middleware.keys.hash_formats import ImportedHash
from octy_middleware.keys.secret import check_imported, has_valid_checksum
from octy_worker.imports.reader import COLUMNS, Row, RowError

IN_CLEAR = "contains a secret key in clear text"
_IN_CLEAR_TO_DO = "export hashes instead, and delete this file: anyone who reads it has the keys"
# Keys of our own format are refused fast when unknown; one with a slow hash would differ from them in time (T7).
_OURS = "looks like a key of Octy, but its hash is not one of Octy's"
_OURS_TO_DO = "leave it out and give the customer new keys"
_find_secret = re.compile(r"(?<![0-9A-Za-z])sk_[0-9A-Za-z-]{8,}").search


@dataclass(frozen=True, slots=True)
class Candidate:
    """A row that is right by itself. `contact` holds the fields that are not empty."""

    line: int
    reference: str
    contact: dict[str, str]
    public_key: str
    secret_digest: str
    imported_scheme: str
    created_at: datetime | None


class Checker:
    """Checks the rows of one file in their order."""

    def __init__(self, now: float) -> None:
        self._lines: dict[str, int] = {}  # of public keys
        self._readers: dict[str, Callable[[str], Any]] = {
            "reference": checked_reference,
            "public_key": _public_key,
            "secret_hash": _hash,
            "created_at": partial(_past, now=utc(now)),
            **{name: partial(_contact, name) for name in CONTACT_FIELDS},
        }

    def check(self, row: Row) -> Candidate | list[RowError]:
        """Return what the row says, or everything that is wrong with it."""
        errors = list(_secrets_in(row)) or list(self._repetition(row))
        found: dict[str, Any] = {}
        for name in COLUMNS if not errors else ():
            try:
                found[name] = self._readers[name](row.fields[name])
            except InvalidInputError as error:
                errors.append(_row_error(row.line, name, str(error)))
        if not errors and has_valid_checksum(found["public_key"]):
            errors.append(RowError(row.line, "public_key", _OURS, _OURS_TO_DO))
        return errors or _candidate(row.line, found)

    def _repetition(self, row: Row) -> Iterator[RowError]:
        first = self._lines.setdefault(row.fields["public_key"], row.line)
        if first != row.line and row.fields["public_key"]:
            yield RowError(
                row.line,
                "public_key",
                f"is in line {first} already",
                "a key pair has one secret: remove one of the lines",
            )


def _candidate(line: int, found: dict[str, Any]) -> Candidate:
    return Candidate(
        line=line,
        reference=found["reference"],
        contact={name: found[name] for name in CONTACT_FIELDS if found[name]},
        public_key=found["public_key"],
        secret_digest=found["secret_hash"].stored,
        imported_scheme=found["secret_hash"].kind,
        created_at=found["created_at"],
    )


def _row_error(line: int, name: str, text: str) -> RowError:
    wrong, _, to_do = text.removeprefix(f"the {name} ").removeprefix(f"{name} ").partition(" → ")
    return RowError(line, name, wrong, to_do or "correct the cell")


def _secrets_in(row: Row) -> Iterator[RowError]:
    for name in COLUMNS:
        if _find_secret(row.fields[name]):
            yield RowError(row.line, name, IN_CLEAR, _IN_CLEAR_TO_DO)


def _contact(name: str, text: str) -> str:
    if not text:
        return ""
    return checked_contact({name: text})[name]


def _public_key(text: str) -> str:
    if not is_public_key(text):
        raise InvalidInputError("is not a public key → use pk_ followed by 8 to 80 letters, digits and hyphens")
    return text


def _hash(text: str) -> ImportedHash:
    if not text:
        raise InvalidInputError("is missing → leave out customers that have no secret, or give them new keys")
    return check_imported(text)


def _past(text: str, now: datetime) -> datetime | None:
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInputError("is not a time → use the form 2024-02-29T12:00:00Z") from None
    if at.tzinfo is None:
        raise InvalidInputError("has no time zone → use the form 2024-02-29T12:00:00Z")
    if not EPOCH <= at <= now:
        raise InvalidInputError("is not between 1970 and now → correct it, or leave it empty")
    return at.astimezone(UTC)
