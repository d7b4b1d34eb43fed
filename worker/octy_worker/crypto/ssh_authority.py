"""The built-in certificate authority, for shops that run none: an Ed25519 key that signs staff's SSH keys for hours.

Larger ones have step-ca, Vault's SSH engine or Teleport; their keys go into OCTY_STAFF_CA_KEYS in the same way.
"""

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    SSHCertificateBuilder,
    SSHCertificateType,
    load_ssh_private_key,
    load_ssh_public_key,
)

from octy_worker.errors import UsageError

_CLOCK_SKEW = 60  # seconds that the clocks of staff and worker may differ


def new_authority_key() -> str:
    """Return a new private key in OpenSSH's PEM form; it is kept sealed."""
    key = Ed25519PrivateKey.generate()
    return key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()


def authority_line(private_key: str) -> str:
    """Return the public key as OCTY_STAFF_CA_KEYS takes it."""
    public = _load_authority(private_key).public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return f"{public.decode()} octy-staff-ca"


def issue_certificate(
    private_key: str, public_key: str, *, handle: str, serial: int, lifetime: float, now: float
) -> str:
    """Return a user certificate for a public key, as the line of a `-cert.pub` file. `lifetime`: seconds.

    Raises UsageError for a key that orders can't be signed with. FIDO tokens (`sk-` keys) need another authority.
    """
    try:
        key = load_ssh_public_key(public_key.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise UsageError("this is not an SSH public key", "name a file such as ~/.ssh/id_ed25519.pub") from None
    is_known = isinstance(key, Ed25519PublicKey) or (
        isinstance(key, EllipticCurvePublicKey) and key.curve.key_size in (256, 384)
    )
    if not is_known or public_key.startswith("sk-"):
        raise UsageError(
            "the built-in authority certifies ed25519 and ecdsa keys of 256 or 384 bits",
            "make a key with `ssh-keygen -t ed25519`, or use step-ca or Vault for others",
        )
    assert isinstance(key, Ed25519PublicKey | EllipticCurvePublicKey)
    certificate = (
        SSHCertificateBuilder()
        .public_key(key)
        .serial(serial)
        .type(SSHCertificateType.USER)
        .key_id(f"{handle}-{serial}".encode())
        .valid_principals([handle.encode()])
        .valid_after(int(now) - _CLOCK_SKEW)
        .valid_before(int(now + lifetime))
        .sign(_load_authority(private_key))
    )
    return certificate.public_bytes().decode()


def _load_authority(private_key: str) -> Ed25519PrivateKey:
    key = load_ssh_private_key(private_key.encode(), None)
    assert isinstance(key, Ed25519PrivateKey)
    return key
