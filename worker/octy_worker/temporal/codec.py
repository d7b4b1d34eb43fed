"""Encryption of Temporal payloads: AES-256-GCM under a keychain, bound to a workflow.

The metadata of a payload has the workflow id in clear; it is authenticated, and compared with the id of the workflow
that gets the payload, so a ciphertext can't be moved to another workflow. The codec is always installed: without keys
it changes nothing, but its error names the key that an encrypted payload needs.

Ids, names of workflows and activities, times and search attributes stay readable. Histories hold no personal data and
no secrets anyway.
"""

import json
import logging
import re
from collections.abc import Sequence
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
from octy_middleware.keys.keychain import Keychain
from octy_workflows.order_content import parse_order_id
from octy_workflows.staff_input import REFUSED_DAMAGED, REFUSED_FOREIGN, REFUSED_NO_KEY, REFUSED_PLAINTEXT

ENCRYPTED = b"binary/encrypted"
_KEY_ID = "encryption-key-id"
_WORKFLOW_ID = "encryption-workflow-id"
_NONCE_BYTES = 12  # NIST SP 800-38D, 8.2: 96 random bits, far below 2**32 payloads a key
_PURPOSE = b"octy temporal payload\0"  # authenticated: a ciphertext of another purpose is not accepted
_BY_SCHEDULE = re.compile(r"-\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")  # what Temporal adds to a schedule's workflow id
_MAX_ORDER_ID = 200  # bytes of JSON with the id of a staff order

_logger = logging.getLogger(__name__)


class DecryptionError(ConfigurationError):
    """A payload can't be decrypted with the configured keys; the text names the missing key."""

    encoding = REFUSED_NO_KEY

    def __init__(self, text: str, key_id: str = "") -> None:
        super().__init__(text)
        self.encoding = self.encoding + (f":{key_id}".encode() if key_id else b"")


class InvalidCiphertextError(DecryptionError):
    """The key is known, but the payload does not authenticate."""

    encoding = REFUSED_DAMAGED


class WrongWorkflowError(DecryptionError):
    """The payload was encrypted for another workflow."""

    encoding = REFUSED_FOREIGN


class PlaintextError(DecryptionError):
    """The payload is not encrypted, but must be."""

    encoding = REFUSED_PLAINTEXT


class EncryptionCodec(PayloadCodec, WithSerializationContext):
    """Encrypts with the newest key, decrypts with any; `keys` None switches encryption off.

    With `reject_silently`, as in workers, a payload from outside (input, signal, update of a workflow) that can't be
    accepted is replaced by one that no converter can read. An exception would fail the workflow task, which Temporal
    retries forever, so one forged signal would block the workflow. Inputs that can't be read fail the task when they
    are converted. Everything else raises: results of activities, and all that clients read. The id of a staff order
    is accepted in plaintext, too: people type it, and it is no secret.
    """

    def __init__(
        self,
        keys: Keychain | None,
        random_bytes: RandomBytes,
        *,
        reject_silently: bool = False,
        context: SerializationContext | None = None,
    ) -> None:
        self._keys = keys
        self._random_bytes = random_bytes
        self._reject_silently = reject_silently
        self._context = context
        self._workflow_id: str | None = None
        if isinstance(context, WorkflowSerializationContext | ActivitySerializationContext):
            self._workflow_id = context.workflow_id or None

    def __repr__(self) -> str:
        return f"EncryptionCodec({self._keys!r})"

    def with_context(self, context: SerializationContext) -> Self:
        """Return a codec for the payloads of one workflow."""
        return type(self)(self._keys, self._random_bytes, reject_silently=self._reject_silently, context=context)

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Encrypt each payload with its metadata."""
        return list(payloads) if self._keys is None else [self._encrypt(payload, self._keys) for payload in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Decrypt. Raises DecryptionError, unless `reject_silently` applies."""
        return [self._decode(payload) for payload in payloads]

    def _encrypt(self, payload: Payload, keys: Keychain) -> Payload:
        key_id, key = keys.newest
        nonce, workflow_id = self._random_bytes(_NONCE_BYTES), (self._workflow_id or "").encode()
        text = AESGCM(key).encrypt(nonce, payload.SerializeToString(), _PURPOSE + workflow_id)
        metadata = {"encoding": ENCRYPTED, _KEY_ID: key_id.encode(), _WORKFLOW_ID: workflow_id}
        return Payload(metadata=metadata, data=nonce + text)

    def _decode(self, payload: Payload) -> Payload:
        try:
            return self._decrypt_or_accept(payload)
        except DecryptionError as error:
            if not self._reject_silently or not isinstance(self._context, WorkflowSerializationContext):
                raise
            _logger.warning("temporal: rejected a payload for workflow %s: %s", self._workflow_id, error)
            return Payload(metadata={"encoding": error.encoding})

    def _decrypt_or_accept(self, payload: Payload) -> Payload:
        if payload.metadata.get("encoding") == ENCRYPTED:
            self._check_workflow(payload)
            return self._decrypt(payload)
        typed = isinstance(self._context, WorkflowSerializationContext) and _is_order_id(payload)
        if self._keys is None or self._workflow_id is None or typed:
            return payload
        raise PlaintextError("it is in plaintext, but payloads must be encrypted")

    def _check_workflow(self, payload: Payload) -> None:
        """Raise WrongWorkflowError for one of another workflow; a schedule's is bound to the id without its time."""
        if self._workflow_id is None:  # called by a reader of histories
            return
        bound = payload.metadata.get(_WORKFLOW_ID, b"").decode("utf-8", "replace")
        rest = self._workflow_id.removeprefix(bound) if bound and self._workflow_id.startswith(bound) else None
        if rest is None or (rest and not _BY_SCHEDULE.fullmatch(rest)):
            raise WrongWorkflowError("it was encrypted for another workflow")

    def _decrypt(self, payload: Payload) -> Payload:
        key_id = key_id_of(payload) or ""
        key = None if self._keys is None else self._keys.get(key_id)
        if key is None:
            raise DecryptionError(
                f"OCTY_TEMPORAL_KEYS lacks the key {key_id!r} with which a workflow's payload is encrypted: "
                "add it again",
                key_id,
            )
        nonce, text = payload.data[:_NONCE_BYTES], payload.data[_NONCE_BYTES:]
        bound_to = _PURPOSE + payload.metadata.get(_WORKFLOW_ID, b"")
        try:
            return Payload.FromString(AESGCM(key).decrypt(nonce, text, bound_to))
        except (InvalidTag, DecodeError, ValueError):  # ValueError: a nonce that is too short
            raise InvalidCiphertextError(
                f"OCTY_TEMPORAL_KEYS: the key {key_id!r} does not decrypt a workflow's payload"
            ) from None


def _is_order_id(payload: Payload) -> bool:
    """Whether it holds the id of a staff order and nothing else."""
    if payload.metadata.get("encoding") != b"json/plain" or len(payload.data) > _MAX_ORDER_ID:
        return False
    try:
        return parse_order_id(json.loads(payload.data)) is not None
    except ValueError:  # no JSON, or no UTF-8
        return False


def key_id_of(payload: Payload) -> str | None:
    """Return the id of the key that a payload is encrypted with; None for plaintext."""
    if payload.metadata.get("encoding") != ENCRYPTED:
        return None
    return payload.metadata.get(_KEY_ID, b"").decode("ascii", "replace")[:16]


def encrypting_converter(
    keys: Keychain | None, random_bytes: RandomBytes, *, reject_silently: bool = False
) -> DataConverter:
    """Return the data converter of every client. With keys, messages and traces of failures are encrypted, too."""
    codec = EncryptionCodec(keys, random_bytes, reject_silently=reject_silently)
    ours = replace(DataConverter.default, payload_codec=codec)
    if keys is None:
        return ours
    return replace(ours, failure_converter_class=DefaultFailureConverterWithEncodedAttributes)
