"""Signs with an Ed25519 key file where OpenSSH is not installed, in the same format (OpenSSH's PROTOCOL.sshsig).

`ssh-keygen` is preferred wherever it is found: it also signs by agents, by tokens and by keys with a passphrase.
"""

import base64
import hashlib
import textwrap
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_ssh_private_key

from octy_worker.crypto.ssh_wire import string
from octy_worker.errors import UsageError

_MAGIC = b"SSHSIG"
_VERSION = (1).to_bytes(4, "big")
_HASH = b"sha512"
_LINE_LENGTH = 70  # of the armor, as `ssh-keygen` writes it


def sign_with_file(private_key: Path, certificate: bytes, message: bytes, namespace: str) -> str:
    """Return the armored signature. `certificate`: in wire format; the signature carries it.

    Raises UsageError for a key that only `ssh-keygen` can sign with: another type, or one with a passphrase.
    """
    try:
        key = load_ssh_private_key(private_key.read_bytes(), None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise UsageError(
            f"ssh-keygen is not installed, and {private_key} is not an Ed25519 key without a passphrase",
            "install OpenSSH's client, version 8.2 or newer",
        )
    head = string(namespace.encode()) + string(b"") + string(_HASH)
    raw = key.sign(_MAGIC + head + string(hashlib.sha512(message).digest()))
    signature = string(string(b"ssh-ed25519") + string(raw))
    encoded = base64.b64encode(_MAGIC + _VERSION + string(certificate) + head + signature).decode()
    lines = textwrap.wrap(encoded, _LINE_LENGTH)
    return "\n".join(["-----BEGIN SSH SIGNATURE-----", *lines, "-----END SSH SIGNATURE-----", ""])
