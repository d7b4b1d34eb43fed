"""Sealed secrets: opened by the keychain that sealed them, for the row that they were sealed for, and no other way."""

import secrets
from base64 import b64decode, b64encode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from octy_middleware.errors import ConfigurationError
from octy_middleware.keys.keychain import Keychain
from octy_worker.crypto.sealed_box import Sealer

OLD, NEW = b"\x01" * 32, b"\x02" * 32
SEALER = Sealer(Keychain({"k1": OLD, "k2": NEW}), secrets.token_bytes)
ROW = "019b76da-b3b8-7000-8000-000000000003"


@settings(deadline=None)
@given(st.text(), st.text(min_size=1))
def test_sealed_secret_opens_again(plain, context):
    assert SEALER.open(SEALER.seal(plain, context), context) == plain


@settings(deadline=None)
@given(st.text(min_size=8))
def test_sealed_secret_shows_no_plaintext(plain):
    sealed = SEALER.seal(plain, ROW)
    assert plain not in sealed
    assert plain.encode() not in b64decode(sealed.split("$")[2])


def test_same_text_is_sealed_anew_each_time():
    assert len({SEALER.seal("sk_x", ROW) for _ in range(100)}) == 100


def test_nonce_is_twelve_bytes_of_the_given_randomness():
    asked: list[int] = []
    sealer = Sealer(Keychain({"k1": OLD}), lambda count: asked.append(count) or b"\x07" * count)
    key_id, nonce, _ = sealer.seal("sk_x", ROW).split("$")
    assert (key_id, b64decode(nonce), asked) == ("k1", b"\x07" * 12, [12])


def test_sealed_secret_of_one_row_does_not_open_for_another():
    with pytest.raises(ConfigurationError, match="does not decrypt"):
        SEALER.open(SEALER.seal("sk_x", ROW), ROW[:-1] + "4")


@settings(deadline=None)
@given(st.data())
def test_changed_sealed_secret_does_not_open(data):
    key_id, nonce, text = SEALER.seal("sk_secret", ROW).split("$")
    parts = {"nonce": bytearray(b64decode(nonce)), "text": bytearray(b64decode(text))}
    part = parts[data.draw(st.sampled_from(sorted(parts)))]
    part[data.draw(st.integers(0, len(part) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    forged = "$".join([key_id, *(b64encode(bytes(piece)).decode() for piece in parts.values())])
    with pytest.raises(ConfigurationError, match="does not decrypt an uncollected secret") as caught:
        SEALER.open(forged, ROW)
    assert "sk_secret" not in str(caught.value)


def test_newest_key_seals_and_older_ones_still_open():
    older = Sealer(Keychain({"k1": OLD}), secrets.token_bytes).seal("sk_x", ROW)
    assert SEALER.open(older, ROW) == "sk_x"
    assert SEALER.seal("sk_x", ROW).startswith("k2$")


def test_sealing_key_removed_from_the_keychain_is_named_in_the_error():
    newer = Sealer(Keychain({"k2": NEW}), secrets.token_bytes)
    older = Sealer(Keychain({"k1": OLD}), secrets.token_bytes).seal("sk_x", ROW)
    with pytest.raises(ConfigurationError, match="OCTY_SEALING_KEYS lacks the key 'k1'"):
        newer.open(older, ROW)


def test_sealing_key_with_the_same_id_and_other_bytes_does_not_open():
    other = Sealer(Keychain({"k1": NEW}), secrets.token_bytes)
    with pytest.raises(ConfigurationError, match="the key 'k1' does not decrypt"):
        other.open(Sealer(Keychain({"k1": OLD}), secrets.token_bytes).seal("sk_x", ROW), ROW)


def test_repr_of_the_sealer_shows_no_keys():
    assert repr(SEALER) == "Sealer(Keychain(k1, k2))"
