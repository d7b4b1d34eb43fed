"""Payloads of Temporal, encrypted before they leave this process: AES-256-GCM under a keychain.

Here: what stands in a history instead of a payload, and what is done with one that should be encrypted and is not. Not
here: whether a workflow began encrypted (`beginnings`), clients (`temporal`), the Web UI's way in (`codec_server`).

Ids, names of workflows and activities, times and search attributes stay readable; the histories hold no personal data
and no secret anyway. The codec is always there. Without keys it changes nothing, but names the key that an encrypted
payload wants: Temporal's own converter would drop such a signal with a line in the log, and an answer with it.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from google.protobuf.message import DecodeError
from temporalio.api.common.v1 import Payload
from temporalio.converter import (
    ActivitySerializationContext,
    DataConverter,
    DefaultFailureConverterWithEncodedAttributes,
    PayloadCodec,
    SerializationContext,
    WithSerializationContext,
    WorkflowSerializationContext,
)

from octy_middleware.clock import RandomBytes
from octy_middleware.errors import ConfigurationError
from octy_middleware.keychain import Keychain
from octy_workflows.hearing import REFUSED

ENCRYPTED = b"binary/encrypted"
_KEY_ID = "encryption-key-id"
_NONCE_BYTES = 12  # NIST SP 800-38D, 8.2: 96 random bits, far below 2**32 payloads a key
_PURPOSE = b"octy temporal payload"  # authenticated: no ciphertext of another purpose opens here

BeganPlain = Callable[[str], Awaitable[bool]]
"""Tells by its workflow id whether a workflow's run was started without encryption; that never changes for a run."""


class UndecipherableError(ConfigurationError):
    """A payload can't be decrypted with the keys that are set; the text names the key that is wanted."""


async def nobody_began_plain(_workflow_id: str) -> bool:
    """Take no plaintext of any workflow."""
    return False


class EncryptionCodec(PayloadCodec, WithSerializationContext):
    """Encrypts under the newest key, decrypts under any; `keys` None switches encryption off.

    Plaintext that comes to a workflow which began encrypted was typed by a person or forged: it becomes a payload
    that nothing can read. Raising would stop the workflow for good. One that began before encryption was switched on
    takes plaintext to its end: its history is full of it, and must replay the same way each time.
    """

    def __init__(
        self, keys: Keychain | None, random_bytes: RandomBytes, began_plain: BeganPlain, workflow_id: str | None = None
    ) -> None:
        self._keys = keys
        self._random_bytes = random_bytes
        self._began_plain = began_plain
        self._workflow_id = workflow_id

    def __repr__(self) -> str:
        return f"EncryptionCodec({self._keys!r})"

    def with_context(self, context: SerializationContext) -> Self:
        """Return a codec that knows whose payloads these are."""
        if not isinstance(context, WorkflowSerializationContext | ActivitySerializationContext):
            return self
        return type(self)(self._keys, self._random_bytes, self._began_plain, context.workflow_id)

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Encrypt each payload as a whole, its metadata too."""
        return list(payloads) if self._keys is None else [self._sealed(payload, self._keys) for payload in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Decrypt. Raises UndecipherableError: the task is tried again until the key is back, and nothing is lost."""
        return [await self._plain(payload) for payload in payloads]

    def _sealed(self, payload: Payload, keys: Keychain) -> Payload:
        key_id, key = keys.newest
        nonce = self._random_bytes(_NONCE_BYTES)
        text = AESGCM(key).encrypt(nonce, payload.SerializeToString(), _PURPOSE)
        return Payload(metadata={"encoding": ENCRYPTED, _KEY_ID: key_id.encode()}, data=nonce + text)

    async def _plain(self, payload: Payload) -> Payload:
        if payload.metadata.get("encoding") == ENCRYPTED:
            return self._opened(payload)
        if self._keys is None or self._workflow_id is None or await self._began_plain(self._workflow_id):
            return payload
        return Payload(metadata={"encoding": REFUSED})

    def _opened(self, payload: Payload) -> Payload:
        key_id = key_of(payload) or ""
        key = None if self._keys is None else self._keys.get(key_id)
        if key is None:
            raise UndecipherableError(
                f"OCTY_TEMPORAL_KEYS lacks the key {key_id!r} that a workflow's payload is encrypted with: put it back"
            )
        nonce, text = payload.data[:_NONCE_BYTES], payload.data[_NONCE_BYTES:]
        try:
            return Payload.FromString(AESGCM(key).decrypt(nonce, text, _PURPOSE))
        except (InvalidTag, DecodeError, ValueError):  # ValueError: a nonce that is too short
            raise UndecipherableError(
                f"OCTY_TEMPORAL_KEYS: the key {key_id!r} does not decrypt a workflow's payload"
            ) from None


def key_of(payload: Payload) -> str | None:
    """Return the id of the key that a payload is encrypted with; None for plaintext."""
    if payload.metadata.get("encoding") != ENCRYPTED:
        return None
    return payload.metadata.get(_KEY_ID, b"").decode("ascii", "replace")[:16]


def converter(keys: Keychain | None, random_bytes: RandomBytes, began_plain: BeganPlain) -> DataConverter:
    """Return what every client is given. With keys, texts and traces of failures are encrypted, too."""
    ours = replace(DataConverter.default, payload_codec=EncryptionCodec(keys, random_bytes, began_plain))
    if keys is None:
        return ours
    return replace(ours, failure_converter_class=DefaultFailureConverterWithEncodedAttributes)
