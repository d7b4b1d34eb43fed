"""Message authentication codes of rows that grant something: staff, factors, sessions, receipts of orders.

Anybody who can write to the database can write such a row, but not its code: a row without a right one grants nothing.
The code is HMAC-SHA-256 over the table's name and all fields that count, in canonical JSON.
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from sqlmodel import SQLModel

from octy_middleware.clock import to_micros
from octy_middleware.keys.keychain import Keychain
from octy_worker.canonical_json import JsonValue, canonical_json


class RowMacs:
    """Makes and checks codes under a keychain (`OCTY_STAFF_KEYS`), so that keys can be rotated."""

    def __init__(self, keys: Keychain) -> None:
        self._keys = keys

    def make(self, table: str, fields: Mapping[str, JsonValue]) -> str:
        """Return `<key id>$<hex>` for a row."""
        key_id, key = self._keys.newest
        return f"{key_id}${_mac(key, table, fields)}"

    def is_right(self, mac: str, table: str, fields: Mapping[str, JsonValue]) -> bool:
        """Return whether the code was made for exactly this row, by a key of the chain."""
        key_id, _, digest = mac.partition("$")
        key = self._keys.get(key_id)
        return key is not None and hmac.compare_digest(digest.encode(), _mac(key, table, fields).encode())


class CodedRow(Protocol):
    """A row with its code."""

    mac: str


@dataclass(frozen=True, slots=True)
class RowCodes:
    """Makes and checks the codes of one table, over these columns; a time counts in microseconds."""

    macs: RowMacs
    table: str
    columns: tuple[str, ...]

    def make(self, row: SQLModel) -> str:
        """Return the code of a row."""
        return self.macs.make(self.table, self._fields(row))

    def make_changed(self, row: SQLModel, changes: Mapping[str, object]) -> str:
        """Return the code that a row has after these changes."""
        return self.make(type(row)(**{**row.model_dump(), **changes}))

    def is_right(self, row: CodedRow) -> bool:
        """Return whether this system wrote a row as it is."""
        return self.macs.is_right(row.mac, self.table, self._fields(row))

    def _fields(self, row: object) -> dict[str, JsonValue]:
        values = {name: getattr(row, name) for name in self.columns}
        return {
            name: to_micros(value.timestamp()) if isinstance(value, datetime) else value
            for name, value in values.items()
        }


def _mac(key: bytes, table: str, fields: Mapping[str, JsonValue]) -> str:
    return hmac.new(key, canonical_json([table, dict(fields)]), hashlib.sha256).hexdigest()
