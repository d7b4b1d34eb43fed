"""Payloads as histories hold them: unreadable without a key, opened by the chain that holds it, never guessed at."""

import asyncio
import secrets
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from temporalio.api.common.v1 import Payload
from temporalio.converter import ActivitySerializationContext, WorkflowSerializationContext

from octy_middleware.keychain import Keychain
from octy_worker.encryption import BeganPlain, EncryptionCodec, UndecipherableError, nobody_began_plain

OLD, NEW = b"\x01" * 32, b"\x02" * 32
ROTATED = Keychain({"k1": OLD, "k2": NEW})
PLAIN = Payload(metadata={"encoding": b"json/plain"}, data=b'{"choice":"regenerate"}')
CASE = WorkflowSerializationContext(namespace="default", workflow_id="octy-incident-1")


def codec(keys: Keychain | None = ROTATED, began_plain: BeganPlain = nobody_began_plain) -> EncryptionCodec:
    return EncryptionCodec(keys, secrets.token_bytes, began_plain).with_context(CASE)


def encoded(payloads: Sequence[Payload], by: EncryptionCodec) -> list[Payload]:
    return asyncio.run(by.encode(payloads))


def decoded(payloads: Sequence[Payload], by: EncryptionCodec) -> list[Payload]:
    return asyncio.run(by.decode(payloads))


@given(st.binary(), st.dictionaries(st.text(max_size=8), st.binary(max_size=8), max_size=3))
def test_what_was_encrypted_comes_back_whole_and_shows_nothing(data, metadata):
    payload = Payload(metadata=metadata, data=data)
    [sealed] = encoded([payload], codec())
    assert decoded([sealed], codec()) == [payload]
    assert dict(sealed.metadata) == {"encoding": b"binary/encrypted", "encryption-key-id": b"k2"}
    assert len(data) < 8 or data not in sealed.data


def test_same_payload_is_encrypted_anew_each_time():
    assert len({sealed.data for sealed in encoded([PLAIN] * 50, codec())}) == 50


def test_newest_key_encrypts_and_older_ones_still_decrypt():
    older = encoded([PLAIN], codec(Keychain({"k1": OLD})))
    assert older[0].metadata["encryption-key-id"] == b"k1"
    assert decoded([*older, *encoded([PLAIN], codec())], codec()) == [PLAIN, PLAIN]


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (Keychain({"k2": NEW}), "OCTY_TEMPORAL_KEYS lacks the key 'k1'.*put it back"),
        (None, "OCTY_TEMPORAL_KEYS lacks the key 'k1'.*put it back"),
        (Keychain({"k1": NEW}), "OCTY_TEMPORAL_KEYS: the key 'k1' does not decrypt"),
    ],
)
def test_a_key_that_is_missing_or_another_one_is_named_and_nothing_is_dropped(keys, said):
    with pytest.raises(UndecipherableError, match=said):
        decoded(encoded([PLAIN], codec(Keychain({"k1": OLD}))), codec(keys))


@given(st.integers(0, 10_000), st.integers(0, 7))
def test_a_changed_payload_does_not_decrypt(place, bit):
    [sealed] = encoded([PLAIN], codec())
    changed = bytearray(sealed.data)
    changed[place % len(changed)] ^= 1 << bit
    with pytest.raises(UndecipherableError, match="'k2' does not decrypt"):
        decoded([Payload(metadata=sealed.metadata, data=bytes(changed))], codec())


@pytest.mark.parametrize("data", [b"", b"short", b"\0" * 12, b"\0" * 28])
def test_rubbish_that_claims_to_be_encrypted_is_a_fault_not_a_crash(data):
    metadata = {"encoding": b"binary/encrypted", "encryption-key-id": b"k2"}
    with pytest.raises(UndecipherableError, match="does not decrypt"):
        decoded([Payload(metadata=metadata, data=data)], codec())


def test_plaintext_to_a_workflow_that_began_encrypted_becomes_unreadable_instead_of_an_error():
    [refused] = decoded([PLAIN], codec())
    assert (dict(refused.metadata), refused.data) == ({"encoding": b"refused/plaintext"}, b"")


MAIL = ActivitySerializationContext(
    namespace="default",
    activity_id="1",
    activity_type="send_mail",
    activity_task_queue="octy",
    workflow_id="octy-incident-1",
    workflow_type="KeyIncidentWorkflow",
    is_local=False,
)


@pytest.mark.parametrize("context", [CASE, MAIL], ids=["workflow", "activity"])
def test_plaintext_to_a_workflow_that_began_plain_is_taken(context):
    asked = []

    async def began_plain(workflow_id: str) -> bool:
        asked.append(workflow_id)
        return True

    reader = EncryptionCodec(ROTATED, secrets.token_bytes, began_plain).with_context(context)
    assert decoded([PLAIN], reader) == [PLAIN]
    assert decoded(encoded([PLAIN], reader), reader) == [PLAIN]
    assert asked == ["octy-incident-1"]


def test_without_keys_everything_stays_as_it_is():
    assert decoded(encoded([PLAIN], codec(None)), codec(None)) == [PLAIN]


def test_keys_are_not_shown():
    assert repr(codec()) == "EncryptionCodec(Keychain(k1, k2))"
