"""SSH's wire format (RFC 4251, section 5), and raw signatures by keys in it (RFC 5656, RFC 8332, RFC 8709)."""

import base64
from collections.abc import Iterator

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_ssh_public_key

# By curve size; RFC 5656, section 6.2.1.
_CURVE_HASHES: dict[int, hashes.HashAlgorithm] = {256: hashes.SHA256(), 384: hashes.SHA384()}
_RSA_HASHES: dict[bytes, hashes.HashAlgorithm] = {b"rsa-sha2-256": hashes.SHA256(), b"rsa-sha2-512": hashes.SHA512()}


class WireError(ValueError):
    """The bytes end too early, or there are more than expected."""


class Reader:
    """Reads one field after the other. Every method raises WireError when the bytes end too early."""

    __slots__ = ("_data", "position")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.position = 0

    def raw(self, length: int) -> bytes:
        """Return the next bytes."""
        end = self.position + length
        if end > len(self._data):
            raise WireError("the data ends too early")
        value = self._data[self.position : end]
        self.position = end
        return value

    def byte(self) -> int:
        """Return the next byte as a number."""
        return self.raw(1)[0]

    def uint32(self) -> int:
        """Return the next unsigned number of 32 bits."""
        return int.from_bytes(self.raw(4), "big")

    def uint64(self) -> int:
        """Return the next unsigned number of 64 bits."""
        return int.from_bytes(self.raw(8), "big")

    def string(self) -> bytes:
        """Return the next string: its length as uint32, then its bytes."""
        return self.raw(self.uint32())

    def mpint(self) -> int:
        """Return the next multiple precision integer."""
        return int.from_bytes(self.string(), "big", signed=True)

    def strings(self) -> Iterator[bytes]:
        """Yield strings up to the end."""
        while self.position < len(self._data):
            yield self.string()

    def only_string(self) -> bytes:
        """Return the next string, which must be the last field."""
        value = self.string()
        self.end()
        return value

    def end(self) -> None:
        """Raise WireError unless everything was read."""
        if self.position != len(self._data):
            raise WireError("there is more data than expected")


def wire_of(line: str) -> bytes:
    """Return a public key or certificate in wire format, from the line of a `.pub` file. Raises ValueError."""
    try:
        return base64.b64decode(line.split()[1], validate=True)
    except IndexError:
        raise WireError("the line has no second word") from None


def string(value: bytes) -> bytes:
    """Return a string field: its length as uint32, then its bytes."""
    return len(value).to_bytes(4, "big") + value


def verify_raw(key: bytes, algorithm: bytes, raw: bytes, data: bytes) -> None:
    """Verify a raw signature over `data` by a public key in wire format. Raises InvalidSignature, and nothing else.

    `algorithm`: the name in front of the signature, which must fit the key.
    """
    try:
        name = Reader(key).string()
        public_key = load_ssh_public_key(name + b" " + base64.b64encode(key))
        if isinstance(public_key, RSAPublicKey):
            public_key.verify(raw, data, PKCS1v15(), _RSA_HASHES[algorithm])
        elif name == algorithm and isinstance(public_key, Ed25519PublicKey):
            public_key.verify(raw, data)
        elif name == algorithm and isinstance(public_key, EllipticCurvePublicKey):
            numbers = Reader(raw)
            encoded = encode_dss_signature(numbers.mpint(), numbers.mpint())
            numbers.end()
            public_key.verify(encoded, data, ECDSA(_CURVE_HASHES[public_key.curve.key_size]))
        else:
            raise InvalidSignature
    except (WireError, ValueError, KeyError, UnsupportedAlgorithm, OverflowError):
        raise InvalidSignature from None
