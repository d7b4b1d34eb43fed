"""Signs on a staff member's own machine by `ssh-keygen -Y sign`: with a key file, an agent, a PKCS#11 or FIDO token.

The private key is not read here, except where OpenSSH is not installed (`ssh_file_signature`). The signature carries
the certificate, which therefore must be at hand: as the file `<key>-cert.pub`, or in the agent.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from octy_worker.crypto.ssh_certificates import RefusedSignatureError, UserCertificate, read_unverified
from octy_worker.crypto.ssh_file_signature import sign_with_file
from octy_worker.crypto.ssh_wire import wire_of
from octy_worker.errors import RefusedError, UsageError

TIMEOUT = 120.0
"""Seconds for a passphrase, a PIN, or a touch."""

_CERTIFICATE = "-cert-v01@openssh.com"
_TO_DO = "name a key whose certificate is beside it: --sign ~/.ssh/id_ed25519, or OCTY_STAFF_KEY_FILE"


@dataclass(frozen=True, slots=True)
class Signer:
    """A certificate and how its key signs. `line`: the certificate as in a `-cert.pub` file."""

    certificate: UserCertificate
    line: str
    path: Path | None = None  # of the certificate; None: it is in the agent alone

    def handle(self, given: str = "") -> str:
        """Return who signs: the one given, else the certificate's only principal. Raises UsageError."""
        names = self.certificate.principals
        if given and given not in names:
            raise UsageError(f"the certificate was issued to {', '.join(names)}, not to {given}", "get your own")
        if not given and len(names) != 1:
            raise UsageError(f"the certificate names several people: {', '.join(names)}", "say who you are with --as")
        return given or names[0]

    def check_time(self, now: float) -> None:
        """Raise RefusedError when the certificate is not valid now by this machine's clock."""
        if now >= self.certificate.valid_before:
            raise RefusedError("your certificate has expired", "get a new one, then `octy login` again")
        if now < self.certificate.valid_after:
            raise RefusedError("your certificate is not valid yet", "compare this machine's clock")

    def sign(self, message: bytes, namespace: str) -> str:
        """Return the armored signature. `ssh-keygen` asks on the terminal for a passphrase, a PIN or a touch.

        Raises RefusedError when it does not sign, UsageError when OpenSSH is not installed and the key needs it.
        """
        if self.path is not None and shutil.which("ssh-keygen") is None:
            key = self.path.with_name(self.path.name.removesuffix("-cert.pub"))
            return sign_with_file(key, self.certificate.blob, message, namespace)
        with self._file() as path:
            return _sign(path, message, namespace)

    @contextlib.contextmanager
    def _file(self) -> Iterator[Path]:
        if self.path is not None:
            yield self.path
            return
        with tempfile.TemporaryDirectory(prefix="octy-") as folder:  # `ssh-keygen` takes files only
            path = Path(folder) / "agent-cert.pub"
            path.write_text(self.line + "\n")
            yield path


def find_signer(key_file: str | None) -> Signer:
    """Return the signer of a key file, or of the only certificate in the agent. Raises UsageError.

    `key_file`: the private key, its `.pub`, or its `-cert.pub`; the certificate is looked for beside it.
    """
    if not key_file:
        return _signer_in_agent()
    return _signer_of_file(Path(os.path.expanduser(key_file)))  # noqa: PTH111 - it leaves the ~ of an unknown user


def _signer_of_file(given: Path) -> Signer:
    base = given.name.removesuffix("-cert.pub").removesuffix(".pub")
    path = given.with_name(f"{base}-cert.pub")
    try:
        line = path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        raise UsageError(f"there is no certificate {path}", f"get one from your authority; or {_TO_DO}") from None
    return Signer(_read(line, str(path)), line, path)


def _signer_in_agent() -> Signer:
    listed = _run(["ssh-add", "-L"])
    lines = [line for line in listed.stdout.decode(errors="replace").splitlines() if _CERTIFICATE in line.split(" ")[0]]
    if listed.returncode or not lines:
        raise UsageError("no SSH certificate was named, and the agent has none", _TO_DO)
    if len(lines) > 1:
        raise UsageError("the SSH agent has several certificates", _TO_DO)
    return Signer(_read(lines[0], "in the agent"), lines[0])


def _read(line: str, where: str) -> UserCertificate:
    try:
        return read_unverified(wire_of(line))
    except ValueError:
        raise UsageError(f"the certificate {where} can't be read", _TO_DO) from None
    except RefusedSignatureError as error:
        raise UsageError(f"the certificate {where} can't be used: {error}", _TO_DO) from None


def _sign(path: Path, message: bytes, namespace: str) -> str:
    command = ["ssh-keygen", "-q", "-Y", "sign", "-n", namespace, "-f", str(path)]
    done = _run(command, message, shows_errors=sys.stderr.isatty())
    if done.returncode:
        said = (done.stderr or b"").decode(errors="replace").strip().splitlines()
        raise RefusedError(
            f"ssh-keygen did not sign{': ' + said[-1] if said else ''}",
            "load key and certificate with `ssh-add`, or keep the private key beside the certificate",
        )
    return done.stdout.decode()


def _run(command: list[str], message: bytes = b"", *, shows_errors: bool = False) -> subprocess.CompletedProcess[bytes]:
    """Run one of OpenSSH's programs. With `shows_errors` its prompts and errors go to the terminal."""
    try:
        return subprocess.run(  # noqa: S603  # a fixed program
            command,
            input=message,
            stdout=subprocess.PIPE,
            stderr=None if shows_errors else subprocess.PIPE,
            timeout=TIMEOUT,
            check=False,
        )
    except FileNotFoundError:
        raise UsageError(f"{command[0]} is not installed", "install OpenSSH's client, version 8.2 or newer") from None
    except subprocess.TimeoutExpired:
        raise RefusedError(f"{command[0]} did not answer within {TIMEOUT:g} s", "repeat the command") from None
