"""Reads the fields of OpenSSH certificates (PROTOCOL.certkeys), also those for FIDO tokens (`sk-` keys).

`cryptography` reads no certificates of FIDO tokens, and its `verify_cert_signature` only proves that the key inside the
certificate has signed it.
"""

from dataclasses import dataclass

from octy_worker.crypto.ssh_wire import Reader, WireError, string

# Key types by the type of their certificates; the value is the plain key's type and its number of fields.
_KEY_TYPES = {
    b"ssh-ed25519-cert-v01@openssh.com": (b"ssh-ed25519", 1),
    b"ecdsa-sha2-nistp256-cert-v01@openssh.com": (b"ecdsa-sha2-nistp256", 2),
    b"ecdsa-sha2-nistp384-cert-v01@openssh.com": (b"ecdsa-sha2-nistp384", 2),
    b"sk-ssh-ed25519-cert-v01@openssh.com": (b"sk-ssh-ed25519@openssh.com", 2),
    b"sk-ecdsa-sha2-nistp256-cert-v01@openssh.com": (b"sk-ecdsa-sha2-nistp256@openssh.com", 3),
}


class UnreadableCertificateError(Exception):
    """Bytes that are no certificate of an accepted type. The text says why."""


@dataclass(frozen=True, slots=True)
class CertificateFields:
    """A certificate as it was read; nothing of it is checked."""

    key_type: bytes
    public_key: bytes
    serial: int
    type: int
    key_id: bytes
    principals: tuple[bytes, ...]
    valid_after: int
    valid_before: int
    critical_options: dict[bytes, bytes]
    authority: bytes
    signature: bytes
    signed: bytes


def read_fields(blob: bytes) -> CertificateFields:
    """Read a certificate in wire format. Raises UnreadableCertificateError, and nothing else."""
    reader = Reader(blob)
    try:
        name = reader.string()
        if name not in _KEY_TYPES:
            raise UnreadableCertificateError(_unaccepted_type(name))
        reader.string()  # nonce
        key_type, parts = _KEY_TYPES[name]
        public_key = string(key_type) + b"".join(string(reader.string()) for _ in range(parts))
        serial, kind, key_id = reader.uint64(), reader.uint32(), reader.string()
        principals = tuple(Reader(reader.string()).strings())
        valid_after, valid_before = reader.uint64(), reader.uint64()
        options = _options(reader.string())
        reader.string()  # extensions: for log-ins to a shell
        reader.string()  # reserved
        authority = reader.string()
        signed = blob[: reader.position]
        signature = reader.string()
        reader.end()
    except WireError:
        raise UnreadableCertificateError("the certificate is malformed") from None
    return CertificateFields(
        key_type, public_key, serial, kind, key_id, principals, valid_after, valid_before, options, authority,
        signature, signed,
    )  # fmt: skip


def _unaccepted_type(name: bytes) -> str:
    if b"-cert-v01" not in name:
        return "it was signed by a plain key, not by a certificate"
    return f"certificates of type {name.decode('ascii', 'replace')} are not accepted"


def _options(encoded: bytes) -> dict[bytes, bytes]:
    """Return the critical options. Raises WireError unless names are unique and in order (PROTOCOL.certkeys)."""
    fields = list(Reader(encoded).strings())
    names = fields[::2]
    if len(fields) % 2 or names != sorted(set(names)):
        raise WireError("the options are not in order")
    values = [Reader(value).only_string() if value else b"" for value in fields[1::2]]
    return dict(zip(names, values, strict=True))
