"""Webhook signatures, verified by the function of the documentation."""

import json
from base64 import b64decode
from dataclasses import replace

import pytest
from support.webhook_rig import ACCOUNT, KEYS, NOW, documented_check, message

from octy_middleware.keys.keychain import Keychain
from octy_worker.webhooks.signing import Signer

is_genuine = documented_check()
SIGNER = Signer(KEYS)
PARCEL = message("https://user:hunter2@hooks.acme.example/t0ken", note="Ω")
HEADERS = SIGNER.headers(PARCEL, NOW)
SECRET = SIGNER.secret(ACCOUNT)


def test_documented_check_verifies_the_standard_webhooks_example() -> None:
    """The vector that all its libraries are tested with, so it is not only our own signature that it takes."""
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    assert is_genuine(secret, headers, b'{"test": 2432232314}', now=lambda: 1614265330.0)
    assert not is_genuine(secret, headers, b'{"test": 2432232315}', now=lambda: 1614265330.0)


def test_webhook_body_is_the_same_json_at_each_attempt() -> None:
    assert PARCEL.body == replace(PARCEL).body
    assert PARCEL.body.isascii()
    assert json.loads(PARCEL.body) == {
        "type": "webhook.test",
        "timestamp": "2026-02-02T02:40:00.000Z",
        "data": {"account_id": ACCOUNT, "note": "Ω"},
    }


def test_webhook_secret_has_256_bits_and_differs_by_account() -> None:
    assert len(b64decode(SECRET.removeprefix("whsec_"))) == 32
    assert SIGNER.secret(ACCOUNT) == SECRET != SIGNER.secret("another")
    assert Signer(Keychain.generate()).secret(ACCOUNT) != SECRET


@pytest.mark.parametrize(("late", "taken"), [(0, True), (300, True), (301, False), (-300, True), (-301, False)])
def test_webhook_replay_is_rejected_after_five_minutes(late: float, taken: bool) -> None:
    assert is_genuine(SECRET, HEADERS, PARCEL.body, now=lambda: NOW + late) is taken


@pytest.mark.parametrize(
    "change",
    [
        {"webhook-id": "w-2"},
        {"webhook-timestamp": str(int(NOW) + 1)},
        {"webhook-timestamp": "soon"},
        {"webhook-signature": "v1,"},
        {"webhook-signature": ""},
        {"webhook-signature": HEADERS["webhook-signature"].replace("v1,", "v2,")},
        {"webhook-signature": HEADERS["webhook-signature"].removeprefix("v1,")},
        {"webhook-signature": "v1,ünicode"},
    ],
)
def test_changed_webhook_header_is_rejected(change: dict[str, str]) -> None:
    assert not is_genuine(SECRET, {**HEADERS, **change}, PARCEL.body, now=lambda: NOW)


@pytest.mark.parametrize("missing", list(HEADERS))
def test_missing_webhook_header_is_rejected(missing: str) -> None:
    headers = {name: value for name, value in HEADERS.items() if name != missing}
    assert not is_genuine(SECRET, headers, PARCEL.body, now=lambda: NOW)


def test_webhook_signature_does_not_verify_with_another_secret_or_body() -> None:
    assert not is_genuine(SIGNER.secret("another"), HEADERS, PARCEL.body, now=lambda: NOW)
    assert not is_genuine(SECRET, HEADERS, PARCEL.body + b" ", now=lambda: NOW)
    assert not is_genuine("whsec_?", HEADERS, PARCEL.body, now=lambda: NOW)


def test_webhook_signature_verifies_with_both_secrets_during_rotation() -> None:
    fresh = Keychain.generate("k2")
    both = Signer(Keychain({**KEYS, **fresh}))
    headers = both.headers(PARCEL, NOW)
    assert len(headers["webhook-signature"].split()) == 2
    assert is_genuine(SECRET, headers, PARCEL.body, now=lambda: NOW)
    assert is_genuine(both.secret(ACCOUNT), headers, PARCEL.body, now=lambda: NOW)
    assert both.secret(ACCOUNT) == Signer(fresh).secret(ACCOUNT)
    later = Signer(fresh).headers(PARCEL, NOW)
    assert not is_genuine(SECRET, later, PARCEL.body, now=lambda: NOW)
    assert headers["webhook-signature"].split()[0] == later["webhook-signature"]


def test_repr_of_webhook_signing_shows_no_secret() -> None:
    shown = f"{SIGNER!r} {PARCEL!r}"
    assert KEYS.newest[0] in shown
    assert not any(part in shown for part in (SECRET, KEYS.newest[1].hex(), "hunter2", "t0ken", "Ω"))
