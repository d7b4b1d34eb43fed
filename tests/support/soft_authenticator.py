"""A WebAuthn authenticator and its browser in software: answers with chosen origin, flags, counter and user handle.

Written on `cryptography` and `cbor2` alone, after WebAuthn Level 3, section 6: not on the library that verifies.
"""

import hashlib
import json
import os
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, field
from typing import Any

import cbor2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

PRESENT, VERIFIED, ATTESTED = 0x01, 0x04, 0x40
ORIGIN = "http://localhost:8443"


def encode(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


@dataclass
class SoftAuthenticator:
    """One credential, of kind ES256, EdDSA or RS256. `counter` grows with each answer, unless `counts` is false."""

    kind: str = "ES256"
    counts: bool = True
    rsa_bits: int = 2048
    counter: int = 0
    credential_id: bytes = field(default_factory=lambda: os.urandom(32))

    def __post_init__(self) -> None:
        self._key: Any = {
            "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
            "EdDSA": Ed25519PrivateKey.generate,
            "RS256": lambda: rsa.generate_private_key(65537, self.rsa_bits),
        }[self.kind]()

    def register(self, options: dict[str, Any], **changes: Any) -> str:
        """Return the browser's JSON for `navigator.credentials.create`."""
        attested = bytes(16) + len(self.credential_id).to_bytes(2, "big") + self.credential_id + self._cose()
        flags = changes.pop("flags", PRESENT | VERIFIED) | ATTESTED
        authenticator_data = self._data(changes.pop("party_id", options["rp"]["id"]), flags) + attested
        form, statement = changes.pop("attestation", ("none", {}))
        attestation = cbor2.dumps({"fmt": form, "attStmt": statement, "authData": authenticator_data})
        client_data = self._client_data("webauthn.create", options["challenge"], changes)
        return self._answer({"clientDataJSON": encode(client_data), "attestationObject": encode(attestation)})

    def sign(self, options: dict[str, Any], *, user_handle: str | None = None, **changes: Any) -> str:
        """Return the browser's JSON for `navigator.credentials.get`."""
        data = self._data(changes.pop("party_id", options["rpId"]), changes.pop("flags", PRESENT | VERIFIED))
        client_data = self._client_data("webauthn.get", options["challenge"], changes)
        signature = self._signature(data + hashlib.sha256(client_data).digest())
        response = {
            "clientDataJSON": encode(client_data),
            "authenticatorData": encode(data),
            "signature": encode(signature),
        }
        return self._answer(response | ({"userHandle": encode(user_handle.encode())} if user_handle else {}))

    def _answer(self, response: dict[str, str]) -> str:
        credential = encode(self.credential_id)
        return json.dumps({"id": credential, "rawId": credential, "type": "public-key", "response": response})

    def _data(self, party_id: str, flags: int) -> bytes:
        self.counter += self.counts
        return hashlib.sha256(party_id.encode()).digest() + bytes([flags]) + self.counter.to_bytes(4, "big")

    @staticmethod
    def _client_data(kind: str, challenge: str, changes: dict[str, Any]) -> bytes:
        told = {"type": kind, "challenge": challenge, "origin": ORIGIN, "crossOrigin": False, **changes}
        return json.dumps(told).encode()

    def _signature(self, data: bytes) -> bytes:
        if self.kind == "ES256":
            return self._key.sign(data, ec.ECDSA(hashes.SHA256()))
        return (
            self._key.sign(data) if self.kind == "EdDSA" else self._key.sign(data, padding.PKCS1v15(), hashes.SHA256())
        )

    def _cose(self) -> bytes:
        public = self._key.public_key()
        if self.kind == "ES256":
            numbers = public.public_numbers()
            return cbor2.dumps(
                {1: 2, 3: -7, -1: 1, -2: numbers.x.to_bytes(32, "big"), -3: numbers.y.to_bytes(32, "big")}
            )
        if self.kind == "EdDSA":
            return cbor2.dumps({1: 1, 3: -8, -1: 6, -2: public.public_bytes(Encoding.Raw, PublicFormat.Raw)})
        numbers = public.public_numbers()
        modulus = numbers.n.to_bytes((numbers.n.bit_length() + 7) // 8, "big")
        return cbor2.dumps({1: 3, 3: -257, -1: modulus, -2: numbers.e.to_bytes(3, "big")})
