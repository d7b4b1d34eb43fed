"""Payload encryption: unreadable without a key, decrypted by the keychain that has it, bound to its workflow."""

import asyncio
import secrets
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from temporalio.api.common.v1 import Payload
from temporalio.converter import ActivitySerializationContext, SerializationContext, WorkflowSerializationContext

from octy_middleware.keys.keychain import Keychain
from octy_worker.temporal.codec import DecryptionError, EncryptionCodec

OLD, NEW = b"\x01" * 32, b"\x02" * 32
ROTATED = Keychain({"k1": OLD, "k2": NEW})
PLAIN = Payload(metadata={"encoding": b"json/plain"}, data=b'{"choice":"regenerate"}')
CASE = WorkflowSerializationContext(namespace="default", workflow_id="octy-incident-1")


def codec(
    keys: Keychain | None = ROTATED, context: SerializationContext = CASE, *, worker: bool = False
) -> EncryptionCodec:
    return EncryptionCodec(keys, secrets.token_bytes, reject_silently=worker).with_context(context)


def of(workflow_id: str) -> WorkflowSerializationContext:
    return WorkflowSerializationContext(namespace="default", workflow_id=workflow_id)


def encoded(payloads: Sequence[Payload], by: EncryptionCodec) -> list[Payload]:
    return asyncio.run(by.encode(payloads))


def decoded(payloads: Sequence[Payload], by: EncryptionCodec) -> list[Payload]:
    return asyncio.run(by.decode(payloads))


@given(st.binary(), st.dictionaries(st.text(max_size=8), st.binary(max_size=8), max_size=3))
def test_encrypted_payload_decrypts_unchanged_and_shows_no_plaintext(data, metadata):
    payload = Payload(metadata=metadata, data=data)
    [sealed] = encoded([payload], codec())
    assert decoded([sealed], codec()) == [payload]
    assert dict(sealed.metadata) == {
        "encoding": b"binary/encrypted",
        "encryption-key-id": b"k2",
        "encryption-workflow-id": b"octy-incident-1",
    }
    assert len(data) < 8 or data not in sealed.data


def test_same_payload_is_encrypted_differently_each_time():
    assert len({sealed.data for sealed in encoded([PLAIN] * 50, codec())}) == 50


def test_newest_key_encrypts_and_older_ones_still_decrypt():
    older = encoded([PLAIN], codec(Keychain({"k1": OLD})))
    assert older[0].metadata["encryption-key-id"] == b"k1"
    assert decoded([*older, *encoded([PLAIN], codec())], codec()) == [PLAIN, PLAIN]


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (Keychain({"k2": NEW}), "OCTY_TEMPORAL_KEYS lacks the key 'k1'.*add it again"),
        (None, "OCTY_TEMPORAL_KEYS lacks the key 'k1'.*add it again"),
        (Keychain({"k1": NEW}), "OCTY_TEMPORAL_KEYS: the key 'k1' does not decrypt"),
    ],
)
def test_missing_or_wrong_temporal_key_is_named_in_the_error(keys, said):
    with pytest.raises(DecryptionError, match=said):
        decoded(encoded([PLAIN], codec(Keychain({"k1": OLD}))), codec(keys))


@given(st.integers(0, 10_000), st.integers(0, 7))
def test_a_changed_payload_does_not_decrypt(place, bit):
    [sealed] = encoded([PLAIN], codec())
    changed = bytearray(sealed.data)
    changed[place % len(changed)] ^= 1 << bit
    with pytest.raises(DecryptionError, match="'k2' does not decrypt"):
        decoded([Payload(metadata=sealed.metadata, data=bytes(changed))], codec())


@pytest.mark.parametrize("data", [b"", b"short", b"\0" * 12, b"\0" * 28])
def test_garbage_marked_as_encrypted_is_an_error(data):
    metadata = {
        "encoding": b"binary/encrypted",
        "encryption-key-id": b"k2",
        "encryption-workflow-id": b"octy-incident-1",
    }
    with pytest.raises(DecryptionError, match="does not decrypt"):
        decoded([Payload(metadata=metadata, data=data)], codec())


MAIL = ActivitySerializationContext(
    namespace="default",
    activity_id="1",
    activity_type="send_mail",
    activity_task_queue="octy",
    workflow_id="octy-incident-1",
    workflow_type="KeyIncidentWorkflow",
    is_local=False,
)


def ciphertext(workflow_id: str = "octy-incident-1", **changed: bytes) -> Payload:
    [sealed] = encoded([PLAIN], codec(context=of(workflow_id)))
    return Payload(
        metadata={**sealed.metadata, **{k.replace("_", "-"): v for k, v in changed.items()}}, data=sealed.data
    )


NOTHING = Payload(metadata={"encoding": b"binary/encrypted"}, data=b"\0" * 40)
FORGERIES = {
    "plaintext": (PLAIN, b"refused/plaintext"),
    "forty_bytes_of_nothing": (NOTHING, b"refused/of-another-workflow"),
    "nothing_with_the_right_names": (Payload(metadata=ciphertext().metadata, data=b"\0" * 40), b"refused/damaged"),
    "unknown_key": (ciphertext(encryption_key_id=b"k9"), b"refused/unknown-key:k9"),
    "key_id_not_text": (ciphertext(encryption_key_id=b"\xff\xfe"), "refused/unknown-key:\ufffd\ufffd".encode()),
    "of_another_workflow": (ciphertext("octy-incident-2"), b"refused/of-another-workflow"),
    "of_an_id_that_begins_alike": (ciphertext("octy-incident"), b"refused/of-another-workflow"),
    "of_another_workflow_under_this_name": (
        ciphertext("octy-incident-2", encryption_workflow_id=b"octy-incident-1"),
        b"refused/damaged",
    ),
    "of_no_workflow": (
        encoded([PLAIN], EncryptionCodec(ROTATED, secrets.token_bytes))[0],
        b"refused/of-another-workflow",
    ),
    "workflow_id_not_text": (ciphertext(encryption_workflow_id=b"\xff"), b"refused/of-another-workflow"),
}


@pytest.mark.parametrize(("payload", "encoding"), FORGERIES.values(), ids=FORGERIES)
def test_forged_payload_to_a_workflow_becomes_unreadable_and_fails_no_workflow_task(payload, encoding):
    [refused] = decoded([payload], codec(worker=True))
    assert (dict(refused.metadata), refused.data) == ({"encoding": encoding}, b"")


@pytest.mark.parametrize("payload", [payload for payload, _ in FORGERIES.values()], ids=list(FORGERIES))
def test_a_forged_payload_is_an_error_to_activities_and_clients(payload):
    for reader in (codec(context=MAIL, worker=True), codec()):
        with pytest.raises(DecryptionError):
            decoded([payload], reader)


@pytest.mark.parametrize("data", [b'"0199f2c4-aaaa"', b'{"order": "0199f2c4-aaaa"}'])
def test_plaintext_order_id_is_accepted_by_workflows_only(data):
    typed = Payload(metadata={"encoding": b"json/plain"}, data=data)
    assert decoded([typed], codec(worker=True)) == [typed]
    with pytest.raises(DecryptionError):
        decoded([typed], codec(context=MAIL, worker=True))


@pytest.mark.parametrize(
    "data",
    [
        b'{"order": "a", "choice": "dismiss"}',
        b'{"order": 1}',
        b'["a"]',
        b"null",
        b'"a b"',
        b'"' + b"a" * 300 + b'"',
        b"\xff",
    ],
)
def test_other_plaintext_is_no_staff_order(data):
    typed = Payload(metadata={"encoding": b"json/plain"}, data=data)
    assert decoded([typed], codec(worker=True))[0].metadata["encoding"] == b"refused/plaintext"


def test_input_encrypted_for_a_schedule_is_accepted_by_its_workflows():
    sealed = ciphertext("octy-maintenance-octy-digest")
    for workflow_id in ("octy-maintenance-octy-digest", "octy-maintenance-octy-digest-2026-11-29T07:00:00Z"):
        assert decoded([sealed], codec(context=of(workflow_id))) == [PLAIN]
    with pytest.raises(DecryptionError):
        decoded([sealed], codec(context=of("octy-maintenance-octy-digest-other")))


@pytest.mark.parametrize("context", [CASE, None], ids=["client", "reader_of_histories"])
def test_reader_without_a_workflow_decrypts_payloads_bound_to_their_own_workflow_id(context):
    reader = codec() if context else EncryptionCodec(ROTATED, secrets.token_bytes)
    assert decoded([ciphertext()], reader) == [PLAIN]
    with pytest.raises(DecryptionError):
        decoded([ciphertext("octy-incident-2", encryption_workflow_id=b"octy-incident-1")], reader)


def test_payloads_stay_plaintext_without_keys():
    assert decoded(encoded([PLAIN], codec(None)), codec(None)) == [PLAIN]


def test_repr_of_the_payload_codec_shows_no_keys():
    assert repr(codec()) == "EncryptionCodec(Keychain(k1, k2))"
