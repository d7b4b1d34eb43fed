"""The key record of a request, as a tuple and packed into bytes, so that a million of them fit into 250 MB."""

from itertools import product
from math import inf
from struct import Struct
from typing import NamedTuple
from uuid import UUID

from octy_middleware.clock import to_micros
from octy_middleware.keys.secret import row_binding
from octy_middleware.states import KeyPairState

# Key pair, account, state, lengths of the two parts of the digest; then the parts, the reference, and the end if any.
_HEAD = Struct(">16s16sBHB")
_LENGTHS = Struct(">HB")
_END = Struct(">q")
_MAX_RAW = 255  # bytes of a digest's hexadecimal part
_STATES = tuple(product(KeyPairState, (False, True)))  # each without and with an end
_STATE_NUMBERS: dict[tuple[str, bool], int] = {
    (state.value, has_end): number for number, (state, has_end) in enumerate(_STATES)
}
_UUID_LENGTH = 16  # bytes of a UUID
_STATE_AT = 2 * _UUID_LENGTH


class KeyRecord(NamedTuple):
    """The data of a key pair that a request needs. `ends_at`: Unix microseconds at which it is retired, or None."""

    pair_id: str
    account_id: str
    reference: str
    public_key: str
    digest: str
    state: str
    ends_at: int | None

    def is_live(self, now: float) -> bool:
        """Return whether the right secret is accepted now."""
        if self.state == KeyPairState.ACTIVE:
            return True
        return self.state == KeyPairState.RETIRING and (self.ends_at is None or to_micros(now) < self.ends_at)

    @property
    def row(self) -> bytes:
        """The bytes that bind the digest to its row."""
        return row_binding(self.pair_id, self.public_key)

    @property
    def is_known(self) -> bool:
        """Whether it counts as known; a pending key pair does not yet."""
        return self.state != KeyPairState.PENDING


class CachedRecords:
    """Packed records by public key, and until when (monotonic seconds) they are trusted."""

    __slots__ = ("records", "trusted_until")

    def __init__(self) -> None:
        self.records: dict[bytes, bytes] = {}  # packed: a million of them fit into 250 MB
        self.trusted_until = -inf


def pack(record: KeyRecord) -> bytes:
    """Return a record as bytes, without its public key: a fifth of the memory that its texts would take.

    Raises ValueError for invalid ids, and KeyError for an unknown state.
    """
    has_end = record.ends_at is not None
    end = _END.pack(record.ends_at or 0)  # packed even if there is none: equal work
    prefix, digest = _split_digest(record.digest)
    head = _HEAD.pack(
        _uuid_bytes(record.pair_id),
        _uuid_bytes(record.account_id),
        _STATE_NUMBERS[record.state, has_end],
        len(prefix),
        len(digest),
    )
    return b"".join((head, prefix, digest, record.reference.encode(), end[: _END.size * has_end]))


def _uuid_bytes(identifier: str) -> bytes:
    """Return the bytes of a UUID. Every query packs a record, and `UUID` takes five times as long."""
    raw = bytes.fromhex(identifier.replace("-", ""))
    if len(raw) != _UUID_LENGTH:
        raise ValueError("this is not a UUID")
    return raw


def _split_digest(stored: str) -> tuple[bytes, bytes]:
    """Split a digest into its text and its hexadecimal part as bytes, empty if it has none or a long one."""
    prefix, dollar, digest = stored.rpartition("$")
    try:
        raw = bytes.fromhex(digest)
    except ValueError:
        return stored.encode(), b""
    is_exact = len(raw) <= _MAX_RAW and raw.hex() == digest
    return ((prefix + dollar).encode(), raw) if is_exact else (stored.encode(), b"")


def is_live(packed: bytes, now: float) -> bool:
    """Return `KeyRecord.is_live` of a packed record."""
    state, has_end = _STATES[packed[_STATE_AT]]
    if state is KeyPairState.ACTIVE:
        return True
    return state is KeyPairState.RETIRING and (not has_end or to_micros(now) < _END.unpack_from(packed, -_END.size)[0])


def digest_of(packed: bytes) -> str:
    """Return the digest of a packed record."""
    prefix, digest = _LENGTHS.unpack_from(packed, _HEAD.size - _LENGTHS.size)
    middle = _HEAD.size + int(prefix)
    return packed[_HEAD.size : middle].decode() + packed[middle : middle + int(digest)].hex()


def row_binding_of(public_key: str, packed: bytes) -> bytes:
    """Return `secret.row_binding` of a packed record."""
    return f"{packed[:_UUID_LENGTH].hex()}\0{public_key}\0".encode()


def unpack(public_key: str, packed: bytes) -> KeyRecord:
    """Return the record of this key from the bytes that `pack` returned."""
    pair, account, number, prefix, digest = _HEAD.unpack_from(packed)
    state, has_end = _STATES[number]
    [ends_at] = _END.unpack_from(packed, -_END.size)  # read even if there is none: equal work
    return KeyRecord(
        str(UUID(bytes=pair)),
        str(UUID(bytes=account)),
        packed[_HEAD.size + prefix + digest : len(packed) - _END.size * has_end].decode(),
        public_key,
        digest_of(packed),
        state,
        ends_at if has_end else None,
    )
