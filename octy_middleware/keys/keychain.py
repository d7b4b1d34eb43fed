"""Named symmetric keys, oldest first; the last one is used for new data, so that keys can be rotated."""

import re
import secrets
from collections.abc import Iterator, Mapping
from typing import Self

from octy_middleware.errors import ConfigurationError

KEY_BYTES = 32
_ID_BYTES = 4
_ENTRY = re.compile(r"([a-z0-9]{1,16}):([0-9a-f]{64})")


class Keychain(Mapping[str, bytes]):
    """Maps key ids to 32-byte keys, oldest first. `repr` shows ids only."""

    __slots__ = ("_keys",)

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        if not keys:
            raise ConfigurationError("a keychain needs at least one key")
        self._keys = dict(keys)

    @classmethod
    def parse(cls, text: str, *, name: str) -> Self:
        """Read `id:hex,id:hex`; `name` is the setting named in errors, which never contain the text."""
        keys: dict[str, bytes] = {}
        for number, entry in enumerate((part.strip() for part in text.split(",")), start=1):
            match = _ENTRY.fullmatch(entry)
            if match is None:
                raise ConfigurationError(
                    f"{name}: entry {number} is not '<id>:<64 hex digits>' (id: 1-16 of a-z, 0-9). "
                    "`octy secrets` makes fitting ones."
                )
            if match[1] in keys:
                raise ConfigurationError(f"{name}: the id {match[1]!r} occurs twice")
            keys[match[1]] = bytes.fromhex(match[2])
        return cls(keys)

    @classmethod
    def generate(cls, key_id: str | None = None) -> Self:
        """Return a keychain with one new random key under a random id, so that installations never share an id."""
        return cls({key_id or secrets.token_hex(_ID_BYTES): secrets.token_bytes(KEY_BYTES)})

    @property
    def newest(self) -> tuple[str, bytes]:
        """Return the id and key to use for new data."""
        return next(reversed(self._keys.items()))

    def export(self) -> str:
        """Return the text that `parse` reads. It contains the keys: for an environment file only."""
        return ",".join(f"{key_id}:{key.hex()}" for key_id, key in self._keys.items())

    def __getitem__(self, key_id: str) -> bytes:
        return self._keys[key_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def __repr__(self) -> str:
        return f"Keychain({', '.join(self._keys)})"

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("a keychain is not pickled")
