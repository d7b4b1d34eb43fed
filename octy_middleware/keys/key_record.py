"""What is known of a pair in memory: as a record, and packed, so that a million of them fit into 300 MB.

Here: both forms and the way between them. Not here: which records are kept, and for how long (`keyring`).
"""

from math import inf
from struct import Struct
from typing import NamedTuple
from uuid import UUID

from octy_middleware.clock import to_micros
from octy_middleware.keys.secret import row_binding
from octy_middleware.states import KeyPairState

_HEAD = Struct(">16s16sBqHH")  # pair, account, state, end, lengths of the digest's parts; behind it these, reference
_LENGTHS = Struct(">HH")
_STATES = tuple(KeyPairState)
_STATE_NUMBERS: dict[str, int] = {state.value: place for place, state in enumerate(_STATES)}
_UUID_LENGTH = 16  # bytes of a UUID


class KeyRecord(NamedTuple):
    """What a request needs to know of a pair. `ends_at`: Unix microseconds after which it is retired, or None."""

    pair_id: str
    account_id: str
    reference: str
    public_key: str
    digest: str
    state: str
    ends_at: int | None

    def is_live(self, now: float) -> bool:
        """Tell whether the right secret is accepted now."""
        if self.state == KeyPairState.ACTIVE:
            return True
        return self.state == KeyPairState.RETIRING and (self.ends_at is None or to_micros(now) < self.ends_at)

    @property
    def row(self) -> bytes:
        """What its digest is bound to."""
        return row_binding(self.pair_id, self.public_key)

    @property
    def is_known(self) -> bool:
        """A pending pair is not known to anybody yet."""
        return self.state != KeyPairState.PENDING


class CachedRecords:
    """What is remembered: packed records by public key, and until when (monotonic seconds) they may be trusted."""

    __slots__ = ("records", "trusted_until")

    def __init__(self) -> None:
        self.records: dict[bytes, bytes] = {}  # packed: a million of them fit into 300 MB
        self.trusted_until = -inf


def pack(record: KeyRecord) -> bytes:
    """Return a record as bytes, without its public key: a fifth of the room that its texts would take.

    Raises ValueError for ids that are none of ours, and KeyError for a state that there is not.
    """
    ends_at = -1 if record.ends_at is None else record.ends_at
    prefix, digest = _split_digest(record.digest)
    head = _HEAD.pack(
        _uuid_bytes(record.pair_id),
        _uuid_bytes(record.account_id),
        _STATE_NUMBERS[record.state],
        ends_at,
        len(prefix),
        len(digest),
    )
    return head + prefix + digest + record.reference.encode()


def _uuid_bytes(identifier: str) -> bytes:
    """Return a UUID's bytes. Every look-up packs, and `UUID` takes five times as long."""
    raw = bytes.fromhex(identifier.replace("-", ""))
    if len(raw) != _UUID_LENGTH:
        raise ValueError("this is no UUID")
    return raw


def _split_digest(stored: str) -> tuple[bytes, bytes]:
    """Return a digest's text, and the hexadecimal half of it as bytes where it has one."""
    prefix, dollar, digest = stored.rpartition("$")
    try:
        raw = bytes.fromhex(digest)
    except ValueError:
        return stored.encode(), b""
    return ((prefix + dollar).encode(), raw) if raw.hex() == digest else (stored.encode(), b"")


def is_live(packed: bytes, now: float) -> bool:
    """Tell of a packed record what `KeyRecord.is_live` tells."""
    _, _, state, ends_at, _, _ = _HEAD.unpack_from(packed)
    if _STATES[state] is KeyPairState.ACTIVE:
        return True
    return _STATES[state] is KeyPairState.RETIRING and (ends_at < 0 or to_micros(now) < ends_at)


def digest_of(packed: bytes) -> str:
    """Return the digest of a packed record."""
    prefix, digest = _LENGTHS.unpack_from(packed, _HEAD.size - _LENGTHS.size)
    middle = _HEAD.size + int(prefix)
    return packed[_HEAD.size : middle].decode() + packed[middle : middle + int(digest)].hex()


def row_binding_of(public_key: str, packed: bytes) -> bytes:
    """Return of a packed record what `keys.row_binding` returns."""
    return f"{packed[:_UUID_LENGTH].hex()}\0{public_key}\0".encode()


def unpack(public_key: str, packed: bytes) -> KeyRecord:
    """Return the record of this key that `pack` made."""
    pair, account, state, ends_at, prefix, digest = _HEAD.unpack_from(packed)
    end = _HEAD.size + prefix + digest
    return KeyRecord(
        str(UUID(bytes=pair)),
        str(UUID(bytes=account)),
        packed[end:].decode(),
        public_key,
        digest_of(packed),
        _STATES[state],
        None if ends_at < 0 else ends_at,
    )
