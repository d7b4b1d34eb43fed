"""Verifies detached SSH signatures (OpenSSH's PROTOCOL.sshsig) that a certificate's key has made.

`ssh-keygen -Y sign -n NAMESPACE -f KEY-cert.pub` makes them, with a key file, an agent, a PKCS#11 token or a FIDO
token; the signature carries the certificate. Signatures of FIDO tokens (`sk-` keys, PROTOCOL.u2f) also say whether the
token verified its user by PIN or fingerprint. All errors are `RefusedSignatureError`; no input raises anything else.
"""

import base64
import hashlib
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature

from octy_worker.crypto.ssh_certificates import CertificateAuthorities, RefusedSignatureError, UserCertificate
from octy_worker.crypto.ssh_wire import Reader, WireError, string, verify_raw

_MAGIC = b"SSHSIG"
_VERSION = 1
_BEGIN, _END = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"
_MAX_LENGTH = 16_384  # characters; an armored signature with a certificate has about 2,000
_HASHES = {b"sha256": hashlib.sha256, b"sha512": hashlib.sha512}
_USER_PRESENT, _USER_VERIFIED = 0x01, 0x04  # flags of a FIDO token (WebAuthn, section 6.1)


@dataclass(frozen=True, slots=True)
class CertifiedSignature:
    """A valid signature. `user_verified`: a FIDO token says that it verified its user by PIN or fingerprint."""

    certificate: UserCertificate
    user_verified: bool


@dataclass(frozen=True, slots=True)
class _Parts:
    public_key: bytes
    namespace: bytes
    reserved: bytes
    hash_name: bytes
    signature: bytes


def verify_signature(
    armored: str, message: bytes, *, namespace: str, authorities: CertificateAuthorities, now: float
) -> CertifiedSignature:
    """Return who signed the message. `now`: Unix seconds, at which the certificate must be valid.

    Raises RefusedSignatureError when the signature is not one over this message in this namespace, by a key whose
    certificate `authorities` accept.
    """
    parts = _parse(armored)
    if parts.namespace != namespace.encode():
        raise RefusedSignatureError(
            f"it was signed for {parts.namespace.decode('ascii', 'replace')!r}, not for {namespace!r}"
        )
    digest = _HASHES.get(parts.hash_name)
    if digest is None:
        raise RefusedSignatureError("its hash algorithm is not accepted")
    certificate = authorities.verify(parts.public_key, now=now)
    signed = _MAGIC + b"".join(
        map(string, (parts.namespace, parts.reserved, parts.hash_name, digest(message).digest()))
    )
    try:
        user_verified = _verify(certificate, parts.signature, signed)
    except (InvalidSignature, WireError):
        raise RefusedSignatureError("the signature does not match what was to be signed") from None
    if certificate.verify_required and not user_verified:
        raise RefusedSignatureError("the certificate demands a key that verifies its user (verify-required)")
    return CertifiedSignature(certificate, user_verified)


def claims_verified_user(armored: str) -> bool:
    """Return whether a signature says that a FIDO token verified its user; nothing is verified here.

    For the signer's own machine, which then asks for no one-time password. Raises RefusedSignatureError.
    """
    reader = Reader(_parse(armored).signature)
    try:
        algorithm, _raw = reader.string(), reader.string()
        return algorithm.startswith(b"sk-") and bool(reader.byte() & _USER_VERIFIED)
    except WireError:
        raise RefusedSignatureError("the signature is malformed") from None


def _parse(armored: str) -> _Parts:
    text = armored.strip()
    if len(text) > _MAX_LENGTH or not text.startswith(_BEGIN) or not text.endswith(_END):
        raise RefusedSignatureError("it is not an SSH signature")
    try:
        encoded = "".join(text[len(_BEGIN) : -len(_END)].split())
        reader = Reader(base64.b64decode(encoded, validate=True))
        magic, version = reader.raw(len(_MAGIC)), reader.uint32()
        parts = _Parts(*(reader.string() for _ in range(5)))
        reader.end()
    except ValueError:  # of Base64, or a WireError
        raise RefusedSignatureError("the signature is malformed") from None
    if magic != _MAGIC or version != _VERSION:
        raise RefusedSignatureError("it is not an SSH signature of version 1")
    return parts


def _verify(certificate: UserCertificate, signature: bytes, signed: bytes) -> bool:
    """Verify the raw signature; return whether a FIDO token verified its user. Raises InvalidSignature or WireError."""
    reader = Reader(signature)
    algorithm, raw = reader.string(), reader.string()
    flags = 0
    if certificate.is_hardware_key:
        flags, counter = reader.byte(), reader.raw(4)
        *_, application = Reader(certificate.public_key).strings()
        signed = hashlib.sha256(application).digest() + bytes([flags]) + counter + hashlib.sha256(signed).digest()
        if not flags & _USER_PRESENT:
            raise InvalidSignature
    reader.end()
    verify_raw(certificate.public_key, algorithm, raw, signed)
    return bool(flags & _USER_VERIFIED)
