"""Keys: formats, checksums, the stored form, peppers, and imported hashes."""

import os
import re
from hashlib import sha256
from importlib import metadata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from passlib.hash import pbkdf2_sha256

from octy_middleware.errors import ConfigurationError
from octy_middleware.http.credentials import Secret, is_public_key
from octy_middleware.keys.keychain import Keychain
from octy_middleware.keys.secret import (
    KeyHasher,
    has_valid_checksum,
    make_key_pair,
    reject_passlib_beside_libpass,
    row_binding,
)

PAIR_ID, PUBLIC_KEY = "00000000-0000-7000-8000-000000000001", "pk_00000001"
ROW = row_binding(PAIR_ID, PUBLIC_KEY)
SCANNER = re.compile(r"\bsk_[0-9A-Za-z]{49}\b")  # the pattern given to secret scanners


@given(st.binary(min_size=32, max_size=32))
def test_every_key_pair_has_the_documented_format(noise: bytes) -> None:
    pair = make_key_pair(lambda count: noise[:count])
    assert re.fullmatch(r"pk_[0-9A-Za-z]{28}", pair.public_key)
    assert SCANNER.fullmatch(pair.secret.reveal())
    assert is_public_key(pair.public_key)
    assert has_valid_checksum(pair.public_key)
    assert has_valid_checksum(pair.secret.reveal())


@given(st.integers(0, 51), st.sampled_from("0123456789ABCDEFabcdefXYZ"))
def test_mistyped_character_is_found_by_the_checksum(place: int, other: str) -> None:
    secret = make_key_pair().secret.reveal()
    typo = secret[:place] + other + secret[place + 1 :]
    assert has_valid_checksum(typo) == (typo == secret)


@given(st.text(max_size=60))
def test_any_text_is_checked_without_error(text: str) -> None:
    assert not has_valid_checksum(text)


def test_key_pairs_differ_and_do_not_show_their_secret() -> None:
    pairs = [make_key_pair() for _ in range(1000)]
    assert len({pair.public_key for pair in pairs}) == len({pair.secret.reveal() for pair in pairs}) == 1000
    assert pairs[0].secret.reveal() not in f"{pairs[0]!r} {pairs[0]!s}"


def test_stored_form_is_a_keyed_digest_that_passlib_identifies() -> None:
    peppers = Keychain.generate("p7")
    hasher, secret = KeyHasher(peppers), make_key_pair().secret
    stored = hasher.digest(secret, ROW)
    assert re.fullmatch(r"\$octy-b2\$p7\$[0-9a-f]{64}", stored)
    assert hasher.context.identify(stored) == "octy_b2"
    assert hasher.context.verify(secret.reveal(), stored, row=ROW)
    assert not hasher.context.verify(secret.reveal() + "x", stored, row=ROW)
    assert hasher.verify(secret, stored, ROW)
    assert not hasher.verify(Secret(""), stored, ROW)
    assert hasher.is_fast(stored)
    assert not hasher.needs_upgrade(stored)


def test_digests_verify_nothing_without_the_pepper() -> None:
    secret = make_key_pair().secret
    stored = KeyHasher(Keychain({"p1": os.urandom(32)})).digest(secret, ROW)
    assert not KeyHasher(Keychain({"p1": os.urandom(32)})).verify(secret, stored, ROW)
    assert not KeyHasher(Keychain({"p2": os.urandom(32)})).verify(secret, stored, ROW)


def test_digest_of_an_old_pepper_verifies_and_needs_an_upgrade() -> None:
    old, secret = os.urandom(32), make_key_pair().secret
    stored = KeyHasher(Keychain({"old": old})).digest(secret, ROW)
    rotated = KeyHasher(Keychain({"old": old, "new": os.urandom(32)}))
    assert rotated.verify(secret, stored, ROW)
    assert rotated.needs_upgrade(stored)
    assert rotated.context.needs_update(stored)
    assert rotated.digest(secret, ROW).startswith("$octy-b2$new$")


def test_digest_copied_to_another_row_verifies_nothing() -> None:
    hasher, secret = KeyHasher(Keychain.generate()), make_key_pair().secret
    stored = hasher.digest(secret, ROW)
    for other in (row_binding(PAIR_ID, "pk_other000"), row_binding(PAIR_ID.replace("1", "2"), PUBLIC_KEY), b""):
        assert not hasher.verify(secret, stored, other)


@pytest.mark.parametrize(
    "imported", [sha256(b"x").hexdigest(), pbkdf2_sha256.using(rounds=10).hash("x")], ids=["sha256", "pbkdf2"]
)
def test_imported_hash_without_its_seal_verifies_nothing(imported: str) -> None:
    hasher = KeyHasher(Keychain.generate("k1"))
    sealed = hasher.seal(imported, ROW)
    assert hasher.verify(Secret("x"), sealed, ROW)
    other = pbkdf2_sha256.using(rounds=10).hash("y")
    edited = sealed.replace(imported, other)
    foreign = KeyHasher(Keychain.generate()).seal(imported, ROW)
    for stored, row in (
        (imported, ROW),
        (sealed, row_binding(PAIR_ID, "pk_other000")),
        (edited, ROW),
        (foreign, ROW),
        (sealed.replace("k1", "k2"), ROW),
    ):
        assert not hasher.verify(Secret("x"), stored, row)
        assert not hasher.verify(Secret("y"), stored, row)
    assert hasher.is_forged(edited, ROW)
    assert not hasher.is_forged(sealed, ROW)
    assert not hasher.is_forged(sealed.replace("k1", "k2"), ROW)  # a pepper that is missing here: unknown


def test_rotated_keychain_checks_the_seals_of_the_old_pepper() -> None:
    old = os.urandom(32)
    sealed = KeyHasher(Keychain({"old": old})).seal(sha256(b"x").hexdigest(), ROW)
    assert KeyHasher(Keychain({"old": old, "new": os.urandom(32)})).verify(Secret("x"), sealed, ROW)
    assert not KeyHasher(Keychain({"new": os.urandom(32)})).can_verify(sealed, ROW)


@pytest.mark.parametrize(
    "stored",
    [
        "",
        "plain",
        "$octy-b2$",
        "$octy-b2$k1$",
        "$octy-b2$gone$",
        "$octy-b2$k1$é",
        "$octy-b2$k1$zz",
        "$2b$broken",
        "$argon2id$v=19$x",
    ],
)
def test_damaged_digest_verifies_nothing_without_an_error(stored: str) -> None:
    assert not KeyHasher(Keychain.generate()).verify(Secret("x"), stored, ROW)


def test_decoy_digest_takes_the_same_work_and_never_verifies() -> None:
    hasher = KeyHasher(Keychain.generate())
    assert not hasher.verify(Secret(""), None, ROW)  # the decoy is the digest of the empty secret
    assert not hasher.verify(make_key_pair().secret, None, ROW)


def test_unknown_key_is_stored_as_a_keyed_hash_only() -> None:
    one, other = KeyHasher(Keychain.generate()), KeyHasher(Keychain.generate())
    assert re.fullmatch(r"[0-9a-f]{24}", one.key_hash("pk_typed"))
    assert one.key_hash("pk_typed") == one.key_hash("pk_typed")
    assert one.key_hash("pk_typed") != other.key_hash("pk_typed")


def test_passlib_installed_with_libpass_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    reject_passlib_beside_libpass()
    monkeypatch.setattr(metadata, "distribution", lambda name: name)
    with pytest.raises(ConfigurationError, match="pip uninstall passlib"):
        reject_passlib_beside_libpass()


def test_hasher_shows_no_pepper() -> None:
    pepper = os.urandom(32)
    assert pepper.hex() not in repr(KeyHasher(Keychain({"p1": pepper})))
