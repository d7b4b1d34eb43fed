"""Packed key records: what is read from one is what was packed, and takes the same work whatever it holds (T7)."""

import struct
from collections.abc import Callable
from itertools import product
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.calls import count_calls

from octy_middleware.equal_work import dummy_record
from octy_middleware.keys.key_record import KeyRecord, digest_of, is_live, pack, row_binding_of, unpack
from octy_middleware.states import KeyPairState

texts = st.text(st.characters(blacklist_categories=["Cs"]), max_size=40)


DIGESTS = {
    "argon2": "$argon2id$v=19$m=65536,t=3,p=4$c2FsdA$aGFzaA",
    "capitals": "$x$ABCDEF",
    "odd": "$x$abc",
    "space": "$x$ab cd",
    "no hex": "$x$",
    "empty": "",
    "dollar": "$",
    "hex only": "abcdef",
    "longest hex": "$y$" + "ab" * 255,
    "odd and long": "$y$" + "a" * 511,
    "hex too long": "$y$" + "ab" * 256,
    "longest text": "a" * 65535,
    "longest text before hex": "$" * 65535 + "ab",
}
ENDS_AT = [None, 0, 1, -1, -(2**63), 2**63 - 1]


def round_trip(record: KeyRecord) -> bytes:
    """Pack a record, compare what is read from it, and return it."""
    packed = pack(record)
    assert unpack(record.public_key, packed) == record
    assert digest_of(packed) == record.digest
    assert row_binding_of(record.public_key, packed) == record.row
    return packed


@pytest.mark.parametrize("state", KeyPairState)
@pytest.mark.parametrize("digest", DIGESTS.values(), ids=DIGESTS)
def test_packed_record_unpacks_to_the_same_record(digest: str, state: KeyPairState) -> None:
    for reference, ends_at in product(("", "acme", "ä" * 300), ENDS_AT):
        round_trip(KeyRecord(str(uuid4()), str(uuid4()), reference, "pk_some", digest, state, ends_at))


@given(
    reference=texts,
    digest=st.one_of(
        st.binary(max_size=300).map(lambda raw: f"$octy-b2$k1${raw.hex()}"),
        st.text("$0a", max_size=20),
        texts,
    ),
    state=st.sampled_from(KeyPairState),
    ends_at=st.none() | st.sampled_from(ENDS_AT) | st.integers(0, 2**63 - 1),
    now=st.floats(0, 4e9),
)
def test_generated_record_is_the_same_when_it_was_packed(
    reference: str, digest: str, state: str, ends_at: int | None, now: float
) -> None:
    record = KeyRecord(str(uuid4()), str(uuid4()), reference, "pk_some", digest, state, ends_at)
    assert is_live(round_trip(record), now) is record.is_live(now)


@pytest.mark.parametrize(
    "changed",
    [{"pair_id": "ab"}, {"account_id": "no hex"}, {"state": "other"}, {"digest": "a" * 65_536}],
    ids=["short id", "no id", "state", "digest too long"],
)
def test_record_that_does_not_fit_is_not_packed(changed: dict[str, str]) -> None:
    record = KeyRecord(str(uuid4()), str(uuid4()), "acme", "pk_some", "$octy-b2$k1$00", "active", None)
    with pytest.raises((ValueError, KeyError, struct.error)):
        pack(record._replace(**changed))


def test_end_takes_eight_bytes_of_a_packed_record_only_where_there_is_one() -> None:
    record = KeyRecord(str(uuid4()), str(uuid4()), "acme", "pk_some", f"$octy-b2$k1${'ab' * 32}", "retiring", None)
    assert len(pack(record)) == 36 + len("$octy-b2$k1$") + 32 + len("acme")
    assert len(pack(record._replace(ends_at=0))) == len(pack(record)) + 8


@pytest.mark.parametrize("work", [pack, lambda record: unpack("pk_some", pack(record))], ids=["pack", "unpack"])
def test_packing_takes_the_same_calls_with_and_without_an_end(work: Callable[[KeyRecord], object]) -> None:
    """An unknown key's dummy record may have an end where that of a wrong secret has none (T7)."""
    record = KeyRecord(str(uuid4()), str(uuid4()), "acme", "pk_some", "$octy-b2$k1$00", "retired", None)
    with_end = record._replace(ends_at=1)
    assert count_calls(lambda: work(record)) == count_calls(lambda: work(with_end))


@pytest.mark.parametrize(
    ("state", "ends_at", "live"),
    [
        ("active", None, True),
        ("active", 1, True),
        ("retiring", None, True),
        ("retiring", 2_000_001, True),
        ("retiring", 2_000_000, False),
        ("retired", None, False),
        ("pending", None, False),
    ],
)
def test_record_is_live_by_its_state_and_until_its_end(state: str, ends_at: int | None, *, live: bool) -> None:
    assert KeyRecord("", "", "acme", "pk_some", "", state, ends_at).is_live(2.0) is live


@pytest.mark.parametrize("state", KeyPairState)
@pytest.mark.parametrize("ends_at", [None, -1, 0, 999_999, 1_000_000, 1_000_001])
def test_packed_record_is_live_as_long_as_the_record(state: KeyPairState, ends_at: int | None) -> None:
    zeros = f"$octy-b2$k1${'00' * 32}"  # which would be an end long ago, if it was read as one
    record = KeyRecord(str(uuid4()), str(uuid4()), "", "pk_some", zeros, state, ends_at)
    assert is_live(pack(record), 1.0) is record.is_live(1.0)


def test_dummy_record_has_the_decoy_digest_and_is_never_live() -> None:
    packed = dummy_record("$octy-b2$k1$00")
    assert digest_of(packed) == "$octy-b2$k1$00"
    assert not is_live(packed, 0.0)
