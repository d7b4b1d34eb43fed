"""SSH keys, certificates and signatures for tests, made by OpenSSH's own `ssh-keygen`; FIDO tokens made of software."""

import base64
import hashlib
import os
import shutil
import subprocess
import textwrap
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_ssh_private_key,
)

from octy_worker.crypto.ssh_wire import string
from support.until import until

LOADED_AT = time.time()
"""When tests were collected, as the `NOW` of their modules: certificates fit to it, however late a test runs."""

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def _absolute(moment: str) -> str:
    """Return a relative time such as `-5m` as `ssh-keygen -V` takes absolute ones; others as they are."""
    if moment[0] not in "+-":
        return moment
    at = LOADED_AT + int(moment[:-1]) * _UNITS[moment[-1]]
    return time.strftime("%Y%m%d%H%M%S", time.localtime(at))


def ssh_keygen(*words: str | Path) -> None:
    subprocess.run(["ssh-keygen", "-q", *map(str, words)], check=True, capture_output=True, timeout=60)


@dataclass(frozen=True)
class SshKey:
    """A key pair in files, as `ssh-keygen` makes it."""

    path: Path

    @classmethod
    def make(cls, path: Path, *options: str) -> "SshKey":
        ssh_keygen("-f", path, "-N", "", "-C", path.name, *(options or ("-t", "ed25519")))
        return cls(path)

    @property
    def public(self) -> str:
        return self.path.with_suffix(".pub").read_text().strip()

    @property
    def certificate(self) -> Path:
        return self.path.with_name(f"{self.path.name}-cert.pub")

    def copied(self, folder: Path) -> "SshKey":
        """Return this key and its certificate, if it has one, in files of another folder."""
        for path in (self.path, self.path.with_suffix(".pub"), self.certificate):
            if path.exists():
                shutil.copy(path, folder)
        return SshKey(folder / self.path.name)

    def certify(self, authority: "SshKey", *options: str, principals: str = "ada", valid: str = "-2h:+8h") -> None:
        """Have a CA sign this key's certificate; empty `principals`: a certificate without any.

        `valid`: as for `ssh-keygen -V`, but relative to `LOADED_AT`.
        """
        names = ("-n", principals) if principals else ()
        span = ":".join(map(_absolute, valid.split(":")))
        ssh_keygen("-s", authority.path, "-I", "ada@laptop", *names, "-V", span, *options, f"{self.path}.pub")

    def sign(self, message: bytes, namespace: str = "octy-order", *, plain: bool = False, hash_name: str = "") -> str:
        """Return the armored signature that `ssh-keygen -Y sign` makes by the certificate, or by the plain key."""
        key = self.path if plain else self.certificate
        hashing = ("-O", f"hashalg={hash_name}") if hash_name else ()
        command = ["ssh-keygen", "-Y", "sign", "-n", namespace, *hashing, "-f", str(key)]
        return subprocess.run(command, input=message, check=True, capture_output=True, timeout=60).stdout.decode()


def wire_of(line: str) -> bytes:
    """Return a public key or certificate of a .pub file in wire format."""
    return base64.b64decode(line.split()[1])


def armor(blob: bytes) -> str:
    body = "\n".join(textwrap.wrap(base64.b64encode(blob).decode(), 70))
    return f"-----BEGIN SSH SIGNATURE-----\n{body}\n-----END SSH SIGNATURE-----\n"


class SoftToken:
    """A FIDO token in software: its `sk-` key, a certificate for it, and signatures with chosen flags."""

    def __init__(self, *, ecdsa: bool = False, application: bytes = b"ssh:") -> None:
        self.application = application
        if ecdsa:
            self._key = generate_private_key(SECP256R1())
            point = self._key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
            self.key_type = b"sk-ecdsa-sha2-nistp256@openssh.com"
            self._fields = string(b"nistp256") + string(point) + string(application)
        else:
            self._key = Ed25519PrivateKey.generate()
            raw = self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
            self.key_type = b"sk-ssh-ed25519@openssh.com"
            self._fields = string(raw) + string(application)

    @property
    def public_line(self) -> str:
        """Return the public key as in a .pub file."""
        return f"{self.key_type.decode()} {base64.b64encode(string(self.key_type) + self._fields).decode()} token"

    def certificate(
        self,
        authority: SshKey,
        *,
        after: int,
        before: int,
        principals: Sequence[bytes] = (b"ada",),
        options: bytes = b"",
    ) -> bytes:
        """Return a certificate in wire format, signed by an ed25519 authority."""
        body = (
            string(self.key_type.replace(b"@", b"-cert-v01@"))
            + string(b"n" * 32)
            + self._fields
            + (7).to_bytes(8, "big")
            + (1).to_bytes(4, "big")
            + string(b"ada@token")
            + string(b"".join(map(string, principals)))
            + after.to_bytes(8, "big")
            + before.to_bytes(8, "big")
            + string(options)
            + string(b"")
            + string(b"")
            + string(wire_of(authority.public))
        )
        key = load_ssh_private_key(authority.path.read_bytes(), None)
        assert isinstance(key, Ed25519PrivateKey)
        return body + string(string(b"ssh-ed25519") + string(key.sign(body)))

    def sign(self, certificate: bytes, message: bytes, namespace: bytes = b"octy-order", *, flags: int = 0x05) -> str:
        """Return an armored signature. Flags: 1 the user was present, 4 the user was verified."""
        tail = string(namespace) + string(b"") + string(b"sha512")
        signed = b"SSHSIG" + tail + string(hashlib.sha512(message).digest())
        told = (
            hashlib.sha256(self.application).digest()
            + bytes([flags])
            + (9).to_bytes(4, "big")
            + hashlib.sha256(signed).digest()
        )
        if isinstance(self._key, Ed25519PrivateKey):
            raw = self._key.sign(told)
        else:
            raw = b"".join(map(_mpint, decode_dss_signature(self._key.sign(told, ECDSA(hashes.SHA256())))))
        signature = string(self.key_type) + string(raw) + bytes([flags]) + (9).to_bytes(4, "big")
        return armor(b"SSHSIG" + (1).to_bytes(4, "big") + string(certificate) + tail + string(signature))


def _mpint(number: int) -> bytes:
    return string(number.to_bytes(number.bit_length() // 8 + 1, "big"))


@contextmanager
def ssh_agent(folder: Path, *keys: SshKey) -> Iterator[dict[str, str]]:
    """Run an agent that holds these keys and their certificates; yield the environment in which it is found."""
    socket = folder / "agent"
    with subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.DEVNULL) as agent:
        try:
            until(socket.exists)
            environ = {**os.environ, "SSH_AUTH_SOCK": str(socket)}
            for key in keys:
                subprocess.run(["ssh-add", "-q", key.path], check=True, capture_output=True, timeout=60, env=environ)
            yield environ
        finally:
            agent.terminate()
