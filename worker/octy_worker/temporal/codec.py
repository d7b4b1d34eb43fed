"""Payloads of Temporal, encrypted before they leave this process: AES-256-GCM under a keychain, bound to a workflow.

Here: what stands in a history instead of a payload, and what becomes of one that can't be taken. Not here: clients
(`temporal`), the Web UI's way in (`codec_server`).

A payload names its workflow in its clear metadata; the name is authenticated, and compared with the workflow that the
payload has come to. So a ciphertext can't be moved to another workflow. The codec is always there: without keys it
changes nothing, but tells which key an encrypted payload wants.

Ids, names of workflows and activities, times and search attributes stay readable; the histories hold no personal data
and no secret anyway.
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
from octy_workflows.staff_input import REFUSED_DAMAGED, REFUSED_FOREIGN, REFUSED_NO_KEY, REFUSED_PLAINTEXT
from octy_workflows.staff_requests import parse_request_id

ENCRYPTED = b"binary/encrypted"
_KEY_ID = "encryption-key-id"
_WORKFLOW_ID = "encryption-workflow-id"
_NONCE_BYTES = 12  # NIST SP 800-38D, 8.2: 96 random bits, far below 2**32 payloads a key
_PURPOSE = b"octy temporal payload\0"  # authenticated: no ciphertext of another purpose opens here
_BY_SCHEDULE = re.compile(r"-\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")  # what Temporal puts behind the id in a schedule
_LARGEST_ORDER = 200  # bytes of JSON that hold an order's id

_logger = logging.getLogger(__name__)


class DecryptionError(ConfigurationError):
    """A payload can't be decrypted with the keys that are set; the text names the key that is wanted."""

    encoding = REFUSED_NO_KEY

    def __init__(self, text: str, key_id: str = "") -> None:
        super().__init__(text)
        self.encoding = self.encoding + (f":{key_id}".encode() if key_id else b"")


class InvalidCiphertextError(DecryptionError):
    """The key is there and the payload does not authenticate."""

    encoding = REFUSED_DAMAGED


class WrongWorkflowError(DecryptionError):
    """The payload belongs to another workflow."""

    encoding = REFUSED_FOREIGN


class PlaintextError(DecryptionError):
    """The payload is not encrypted, and should be."""

    encoding = REFUSED_PLAINTEXT


class EncryptionCodec(PayloadCodec, WithSerializationContext):
    """Encrypts under the newest key, decrypts under any; `keys` None switches encryption off.

    What comes to a workflow from outside (its input, signals, updates) and can't be taken becomes a payload that
    nothing can read, where `reject_silently` is set, as workers have it: raising would fail the workflow's task, which
    Temporal retries for ever, so one forged signal would stop the workflow. Inputs that can't be read fail the task
    all the same when they are converted. Everything else raises: results of activities, and all that clients read.
    An order's id is taken in plaintext, too: people type it, and it is no secret.
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
        """Return a codec that knows whose payloads these are."""
        return type(self)(self._keys, self._random_bytes, reject_silently=self._reject_silently, context=context)

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Encrypt each payload as a whole, its metadata too."""
        return list(payloads) if self._keys is None else [self._sealed(payload, self._keys) for payload in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Decrypt. Raises UndecipherableError, unless what can't be taken is to be refused quietly."""
        return [self._taken(payload) for payload in payloads]

    def _sealed(self, payload: Payload, keys: Keychain) -> Payload:
        key_id, key = keys.newest
        nonce, workflow_id = self._random_bytes(_NONCE_BYTES), (self._workflow_id or "").encode()
        text = AESGCM(key).encrypt(nonce, payload.SerializeToString(), _PURPOSE + workflow_id)
        metadata = {"encoding": ENCRYPTED, _KEY_ID: key_id.encode(), _WORKFLOW_ID: workflow_id}
        return Payload(metadata=metadata, data=nonce + text)

    def _taken(self, payload: Payload) -> Payload:
        try:
            return self._plain(payload)
        except DecryptionError as error:
            if not self._reject_silently or not isinstance(self._context, WorkflowSerializationContext):
                raise
            _logger.warning("temporal: a payload for %s is refused: %s", self._workflow_id, error)
            return Payload(metadata={"encoding": error.encoding})

    def _plain(self, payload: Payload) -> Payload:
        if payload.metadata.get("encoding") == ENCRYPTED:
            self._check_workflow(payload)
            return self._opened(payload)
        typed = isinstance(self._context, WorkflowSerializationContext) and _is_order(payload)
        if self._keys is None or self._workflow_id is None or typed:
            return payload
        raise PlaintextError("it came in plaintext, and payloads are encrypted here")

    def _check_workflow(self, payload: Payload) -> None:
        """Raise ForeignError for one of another workflow; a schedule's are bound to the id without its time."""
        if self._workflow_id is None:  # asked by a reader of histories, who has the ciphertext of any
            return
        bound = payload.metadata.get(_WORKFLOW_ID, b"").decode("utf-8", "replace")
        rest = self._workflow_id.removeprefix(bound) if bound and self._workflow_id.startswith(bound) else None
        if rest is None or (rest and not _BY_SCHEDULE.fullmatch(rest)):
            raise WrongWorkflowError("it was encrypted for another workflow")

    def _opened(self, payload: Payload) -> Payload:
        key_id = key_id_of(payload) or ""
        key = None if self._keys is None else self._keys.get(key_id)
        if key is None:
            raise DecryptionError(
                f"OCTY_TEMPORAL_KEYS lacks the key {key_id!r} that a workflow's payload is encrypted with: put it back",
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


def _is_order(payload: Payload) -> bool:
    """Tell whether it holds an order's id and nothing else."""
    if payload.metadata.get("encoding") != b"json/plain" or len(payload.data) > _LARGEST_ORDER:
        return False
    try:
        return parse_request_id(json.loads(payload.data)) is not None
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
    """Return what every client is given. With keys, texts and traces of failures are encrypted, too."""
    codec = EncryptionCodec(keys, random_bytes, reject_silently=reject_silently)
    ours = replace(DataConverter.default, payload_codec=codec)
    if keys is None:
        return ours
    return replace(ours, failure_converter_class=DefaultFailureConverterWithEncodedAttributes)
