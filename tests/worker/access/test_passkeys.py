"""Passkeys: answers of an authenticator that are accepted, each way to be refused, and any other text."""

import json
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.soft_authenticator import ORIGIN, PRESENT, VERIFIED, SoftAuthenticator, decode, encode

from octy_worker.access.passkeys import (
    Passkey,
    RelyingParty,
    assertion_options,
    credential_id_of,
    registration_options,
    verify_assertion,
    verify_registration,
)
from octy_worker.crypto.ssh_certificates import RefusedSignatureError

PARTY = RelyingParty("localhost", ORIGIN, "Octy")
CHALLENGE, USER = b"c" * 32, "0199f2c4-9c3b-7d4e-8a1f-ba9876543210"
CREATION = registration_options(PARTY, handle="ada", user_id=USER, challenge=CHALLENGE)


def registered(authenticator: SoftAuthenticator) -> Passkey:
    return verify_registration(PARTY, authenticator.register(CREATION), challenge=CHALLENGE)


def request_for(passkey: Passkey) -> dict[str, Any]:
    return assertion_options(PARTY, challenge=CHALLENGE, passkeys=[passkey])


def verify(passkey: Passkey, answer: str, **options: Any) -> int:
    return verify_assertion(PARTY, passkey, answer, **{"challenge": CHALLENGE, "user_id": USER, **options})


@pytest.mark.parametrize("kind", ["ES256", "EdDSA", "RS256"])
def test_registered_passkey_signs_and_its_counter_is_returned(kind: str) -> None:
    authenticator = SoftAuthenticator(kind)
    passkey = registered(authenticator)
    assert (passkey.credential_id, passkey.counter) == (authenticator.credential_id, 1)
    answer = authenticator.sign(request_for(passkey), user_handle=USER)
    assert verify(passkey, answer, last_counter=1) == 2
    assert credential_id_of(answer) == passkey.credential_id


def test_authenticator_without_a_counter_is_accepted() -> None:
    authenticator = SoftAuthenticator(counts=False)
    passkey = registered(authenticator)
    assert [verify(passkey, authenticator.sign(request_for(passkey))) for _ in range(2)] == [0, 0]


def test_browser_is_told_to_verify_its_user_and_which_passkeys_there_are() -> None:
    passkey = registered(SoftAuthenticator())
    request = request_for(passkey)
    assert (request["rpId"], request["userVerification"]) == ("localhost", "required")
    assert [decode(each["id"]) for each in request["allowCredentials"]] == [passkey.credential_id]
    again = registration_options(PARTY, handle="ada", user_id=USER, challenge=CHALLENGE, known=[passkey])
    assert again["authenticatorSelection"]["userVerification"] == "required"
    assert [decode(each["id"]) for each in again["excludeCredentials"]] == [passkey.credential_id]
    assert "ada" not in decode(again["user"]["id"]).decode(), "an id tells no name"


REFUSED = [
    ("not verified", {"flags": PRESENT}, "user was not verified"),
    ("not present", {"flags": VERIFIED}, "not present"),
    ("other origin", {"origin": "https://evil.example"}, "origin"),
    ("same host, other port", {"origin": "http://localhost:9"}, "origin"),
    ("other relying party", {"party_id": "evil.example"}, "RP ID"),
    ("other challenge", {"challenge": encode(b"d" * 32)}, "challenge"),
    ("frame of another origin", {"crossOrigin": True}, "another origin"),
]


@pytest.mark.parametrize(("changes", "why"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_answer_is_refused(changes: dict[str, Any], why: str) -> None:
    authenticator = SoftAuthenticator()
    with pytest.raises(RefusedSignatureError, match=why):
        verify_registration(PARTY, authenticator.register(CREATION, **changes), challenge=CHALLENGE)
    passkey = registered(authenticator)
    with pytest.raises(RefusedSignatureError, match=why):
        verify(passkey, authenticator.sign(request_for(passkey), **changes))


def test_registration_and_assertion_do_not_stand_for_each_other() -> None:
    authenticator = SoftAuthenticator()
    passkey = registered(authenticator)
    with pytest.raises(RefusedSignatureError, match="client data type"):
        verify(passkey, authenticator.sign(request_for(passkey), type="webauthn.create"))
    with pytest.raises(RefusedSignatureError, match="client data type"):
        verify_registration(PARTY, authenticator.register(CREATION, type="webauthn.get"), challenge=CHALLENGE)


def test_signature_of_another_key_person_or_counter_is_refused() -> None:
    authenticator, other = SoftAuthenticator(), SoftAuthenticator()
    passkey = registered(authenticator)
    with pytest.raises(RefusedSignatureError, match="another passkey"):
        verify(replace(passkey, credential_id=b"other"), authenticator.sign(request_for(passkey)))
    with pytest.raises(RefusedSignatureError, match="Could not verify"):
        verify(passkey, renamed(other.sign(request_for(passkey)), passkey))
    with pytest.raises(RefusedSignatureError, match="belongs to another person"):
        verify(passkey, authenticator.sign(request_for(passkey), user_handle="someone"))
    with pytest.raises(RefusedSignatureError, match="sign count"):
        verify(passkey, authenticator.sign(request_for(passkey)), last_counter=99)


def renamed(answer: str, passkey: Passkey) -> str:
    name = encode(passkey.credential_id)
    return json.dumps({**json.loads(answer), "id": name, "rawId": name})


def test_weak_key_and_attestation_that_was_not_asked_for_are_refused() -> None:
    with pytest.raises(RefusedSignatureError, match="too short"):
        registered(SoftAuthenticator("RS256", rsa_bits=1024))
    answer = SoftAuthenticator().register(CREATION, attestation=("fido-u2f", {"sig": b"", "x5c": []}))
    with pytest.raises(RefusedSignatureError, match="attestation that was not asked for"):
        verify_registration(PARTY, answer, challenge=CHALLENGE)


@pytest.mark.parametrize(
    ("url", "party"),
    [
        ("https://staff.octy.example", ("staff.octy.example", "https://staff.octy.example")),
        ("https://Staff.octy.example:443/x", ("staff.octy.example", "https://staff.octy.example")),
        ("https://staff.octy.example:8443", ("staff.octy.example", "https://staff.octy.example:8443")),
        ("http://localhost:8443", ("localhost", "http://localhost:8443")),
        ("http://127.0.0.1:8443", None),
        ("https://[::1]:8443", None),
        ("", None),
    ],
)
def test_relying_party_is_the_host_of_the_servers_url(url: str, party: tuple[str, str] | None) -> None:
    made = RelyingParty.of_url(url, "Octy")
    assert (made and (made.id, made.origin)) == party


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=20), inner, max_size=4),
    max_leaves=12,
)
AUTHENTICATOR = SoftAuthenticator()
PASSKEY = registered(AUTHENTICATOR)


@given(text=st.text(max_size=200) | JSON.map(json.dumps))
def test_any_text_is_refused_and_raises_nothing_else(text: str) -> None:
    for call in (credential_id_of, lambda answer: verify(PASSKEY, answer), register_text):
        with pytest.raises(RefusedSignatureError):
            call(text)


def register_text(answer: str) -> Passkey:
    return verify_registration(PARTY, answer, challenge=CHALLENGE)


RIGHT = {False: AUTHENTICATOR.sign(request_for(PASSKEY)), True: AUTHENTICATOR.register(CREATION)}


@given(creation=st.booleans(), data=st.data())
def test_changed_byte_of_an_answer_is_refused_and_raises_nothing_else(creation: bool, data: st.DataObject) -> None:
    answer = json.loads(RIGHT[creation])
    name = data.draw(st.sampled_from(sorted(answer["response"])))
    raw = bytearray(decode(answer["response"][name]))
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= data.draw(st.integers(1, 255))
    answer["response"][name] = encode(bytes(raw))
    if not creation:
        with pytest.raises(RefusedSignatureError):
            verify(PASSKEY, json.dumps(answer))
        return
    with suppress(RefusedSignatureError):  # nothing covers the new key itself: it may be well formed, too
        assert isinstance(register_text(json.dumps(answer)), Passkey)


@given(creation=st.booleans(), name=st.sampled_from(["id", "rawId", "type", "response"]), value=JSON)
def test_answer_with_a_field_of_another_type_is_refused(creation: bool, name: str, value: object) -> None:
    answer = json.dumps({**json.loads(RIGHT[creation]), name: value})
    with pytest.raises(RefusedSignatureError):
        register_text(answer) if creation else verify(PASSKEY, answer)


@given(creation=st.booleans(), data=st.data(), value=JSON)
def test_answer_with_a_response_of_another_type_is_refused(creation: bool, data: st.DataObject, value: object) -> None:
    answer = json.loads(RIGHT[creation])
    answer["response"][data.draw(st.sampled_from(sorted(answer["response"])))] = value
    with pytest.raises(RefusedSignatureError):
        register_text(json.dumps(answer)) if creation else verify(PASSKEY, json.dumps(answer))


def test_answer_of_any_length_is_refused() -> None:
    for call in (credential_id_of, register_text, lambda answer: verify(PASSKEY, answer)):
        with pytest.raises(RefusedSignatureError, match="too long"):
            call("[" * 20_000)
