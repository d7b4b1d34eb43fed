"""Verifies OpenSSH user certificates (PROTOCOL.certkeys) against the staff's certificate authorities.

What no rule here allows is refused. All errors are `RefusedSignatureError`; no input raises anything else.
"""

import base64
import hashlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_ssh_public_key

from octy_middleware.errors import ConfigurationError
from octy_worker.crypto.ssh_certificate_fields import CertificateFields, UnreadableCertificateError, read_fields
from octy_worker.crypto.ssh_wire import Reader, WireError, verify_raw, wire_of

_USER = 1  # certificate type; 2 is a host's
_AUTHORITY_SIGNATURES = frozenset(
    {b"ssh-ed25519", b"ecdsa-sha2-nistp256", b"ecdsa-sha2-nistp384", b"rsa-sha2-256", b"rsa-sha2-512"}
)
BACKDATING = 120
"""Seconds that an authority may put into the past for clocks that differ: step-ca does 60, Vault 30."""
_MIN_RSA_BITS = 2048
_SOURCE_ADDRESS, _VERIFY_REQUIRED = b"source-address", b"verify-required"


class RefusedSignatureError(Exception):
    """A certificate, a signature or a second factor that is not accepted. The text says which rule it breaks."""


@dataclass(frozen=True, slots=True)
class UserCertificate:
    """A certificate whose fields were checked. Times are Unix seconds; `blob` is the certificate as it is signed."""

    key_type: bytes  # of the plain key
    public_key: bytes  # of the user, in wire format
    key_id: str
    serial: int
    principals: tuple[str, ...]
    valid_after: int
    valid_before: int
    fingerprint: str  # of the user's key, as `ssh-keygen -l` shows it
    authority: str  # fingerprint of the CA key
    source_addresses: tuple[str, ...]  # networks; empty: from everywhere
    verify_required: bool
    blob: bytes = field(repr=False)

    @property
    def is_hardware_key(self) -> bool:
        """Whether the private key is in a FIDO token (`sk-` key types)."""
        return self.key_type.startswith(b"sk-")

    def text(self) -> str:
        """Return the certificate as one line, as `ssh-keygen -L` reads it."""
        return f"{Reader(self.blob).string().decode()} {base64.b64encode(self.blob).decode()}"


@dataclass(frozen=True, slots=True)
class Revocations:
    """What was revoked: serial numbers, key ids, and fingerprints of user keys or authorities (`SHA256:…`)."""

    serials: frozenset[int] = frozenset()
    key_ids: frozenset[str] = frozenset()
    fingerprints: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, entries: Iterable[str]) -> "Revocations":
        """Read entries of the form `serial:17`, `id:ada@laptop` and `SHA256:…`. Raises ConfigurationError."""
        serials, key_ids, fingerprints = set(), set(), set()
        for entry in entries:
            kind, _, value = entry.partition(":")
            if kind == "serial" and value.isdecimal():
                serials.add(int(value))
            elif kind == "id" and value:
                key_ids.add(value)
            elif kind == "SHA256" and value:
                fingerprints.add(entry)
            else:
                raise ConfigurationError(
                    f"OCTY_STAFF_REVOKED: {entry!r} is none of serial:<number>, id:<key id>, SHA256:<fingerprint>"
                )
        return cls(frozenset(serials), frozenset(key_ids), frozenset(fingerprints))


class CertificateAuthorities:
    """The public keys whose certificates are accepted, and the rules for those certificates."""

    def __init__(self, lines: Iterable[str], *, max_lifetime: float, revoked: Revocations) -> None:
        """`lines`: public keys as in an `id_ed25519.pub` file. `max_lifetime`: seconds. Raises ConfigurationError."""
        self._keys = {_read_authority(line) for line in lines if line.strip() and not line.lstrip().startswith("#")}
        self._max_lifetime = max_lifetime
        self._revoked = revoked

    @property
    def fingerprints(self) -> Collection[str]:
        """The fingerprints of the trusted keys, as `ssh-keygen -l` shows them."""
        return sorted(map(fingerprint_of, self._keys))

    def verify(self, blob: bytes, *, now: float) -> UserCertificate:
        """Return the certificate if a trusted authority signed it, it is valid now, and it is not revoked.

        `blob`: the certificate in wire format. Whether a principal is the person who acts, and whether the request
        came from an allowed address, is checked by `check_principal` and `check_source`. Raises RefusedSignatureError.
        """
        fields = _read_user(blob)
        if fields.authority not in self._keys:
            raise RefusedSignatureError(
                f"its authority {fingerprint_of(fields.authority)} is not in OCTY_STAFF_CA_KEYS"
            )
        _verify_authority_signature(fields)
        certificate = _check_fields(fields, blob)
        self._check_time(certificate, now)
        self._check_revocation(certificate)
        return certificate

    def _check_time(self, certificate: UserCertificate, now: float) -> None:
        if now < certificate.valid_after:
            raise RefusedSignatureError("the certificate is not valid yet; compare the clocks")
        if now >= certificate.valid_before:
            raise RefusedSignatureError("the certificate has expired; get a new one")
        if certificate.valid_before - certificate.valid_after > self._max_lifetime + BACKDATING:
            raise RefusedSignatureError(
                f"the certificate is valid for longer than {self._max_lifetime / 3600:g} h "
                "(OCTY_STAFF_CERTIFICATE_LIFE)"
            )

    def _check_revocation(self, certificate: UserCertificate) -> None:
        if (
            certificate.serial in self._revoked.serials
            or certificate.key_id in self._revoked.key_ids
            or not self._revoked.fingerprints.isdisjoint({certificate.fingerprint, certificate.authority})
        ):
            raise RefusedSignatureError("the certificate was revoked (OCTY_STAFF_REVOKED)")


def read_unverified(blob: bytes) -> UserCertificate:
    """Return the fields of a certificate in wire format, not verified: for its owner's own machine.

    Raises RefusedSignatureError for what no authority's trust could make acceptable.
    """
    return _check_fields(_read_user(blob), blob)


def check_principal(certificate: UserCertificate, handle: str) -> None:
    """Raise RefusedSignatureError unless the certificate was issued to this person."""
    if handle not in certificate.principals:
        raise RefusedSignatureError(f"the certificate was not issued to {handle}")


def check_source(certificate: UserCertificate, source: str | None) -> None:
    """Raise RefusedSignatureError unless the certificate may be used from this address (`source-address`)."""
    if not certificate.source_addresses:
        return
    try:
        allowed = source is not None and any(
            ip_address(source) in ip_network(network, strict=False) for network in certificate.source_addresses
        )
    except ValueError:
        allowed = False
    if not allowed:
        raise RefusedSignatureError(
            f"the certificate may not be used from {source or 'an unknown address'} (source-address)"
        )


def fingerprint_of(key: bytes) -> str:
    """Return the fingerprint of a public key in wire format, as `ssh-keygen -l` shows it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")


def _read_authority(line: str) -> bytes:
    """Return a CA's public key in wire format."""
    try:
        key = load_ssh_public_key(line.encode())
        blob = wire_of(line)
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigurationError(
            "OCTY_STAFF_CA_KEYS: not a public key as in `ssh-keygen`'s .pub files, ed25519, ecdsa or rsa"
        ) from None
    if isinstance(key, RSAPublicKey) and key.key_size < _MIN_RSA_BITS:
        raise ConfigurationError(f"OCTY_STAFF_CA_KEYS: an RSA key needs at least {_MIN_RSA_BITS} bits")
    return blob


def _read_user(blob: bytes) -> CertificateFields:
    try:
        fields = read_fields(blob)
    except UnreadableCertificateError as error:
        raise RefusedSignatureError(str(error)) from None
    if fields.type != _USER:
        raise RefusedSignatureError("it is a host certificate, not a user certificate")
    return fields


def _verify_authority_signature(fields: CertificateFields) -> None:
    try:
        reader = Reader(fields.signature)
        algorithm, raw = reader.string(), reader.string()
        reader.end()
        if algorithm not in _AUTHORITY_SIGNATURES:
            raise RefusedSignatureError(
                f"the authority signed with {algorithm.decode('ascii', 'replace')}, which is not accepted"
            )
        verify_raw(fields.authority, algorithm, raw, fields.signed)
    except (WireError, InvalidSignature):
        raise RefusedSignatureError("the authority's signature does not match the certificate") from None


def _check_fields(fields: CertificateFields, blob: bytes) -> UserCertificate:
    unknown = fields.critical_options.keys() - {_SOURCE_ADDRESS, _VERIFY_REQUIRED}
    if unknown:
        names = ", ".join(sorted(name.decode("ascii", "replace") for name in unknown))
        raise RefusedSignatureError(f"the certificate has a critical option that is not supported: {names}")
    if not fields.principals:
        raise RefusedSignatureError("the certificate names no principal, so it would be valid for everyone")
    try:
        principals = tuple(name.decode() for name in fields.principals)
        key_id = fields.key_id.decode()
        sources = fields.critical_options.get(_SOURCE_ADDRESS, b"").decode("ascii")
    except UnicodeDecodeError:
        raise RefusedSignatureError("the certificate is malformed") from None
    networks = tuple(part.strip() for part in sources.split(",") if part.strip())
    if _SOURCE_ADDRESS in fields.critical_options and not networks:
        raise RefusedSignatureError("the certificate's source-address is empty")
    return UserCertificate(
        key_type=fields.key_type,
        public_key=fields.public_key,
        key_id=key_id,
        serial=fields.serial,
        principals=principals,
        valid_after=fields.valid_after,
        valid_before=fields.valid_before,
        fingerprint=fingerprint_of(fields.public_key),
        authority=fingerprint_of(fields.authority),
        source_addresses=networks,
        verify_required=_VERIFY_REQUIRED in fields.critical_options,
        blob=blob,
    )
