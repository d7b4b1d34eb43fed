"""A member of support staff on the embedded stack: admin, with key, certificate and one-time password in one folder.

Everything is done by the commands that real staff use. Only the authenticator app is simulated: its secret is in a
file, and `python -m octy_worker.dev.staff_member FOLDER` prints a code (OCTY_STAFF_CODE_COMMAND). That is acceptable
because the stack is for development.
"""

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from passlib.totp import TOTP

from octy_middleware.clock import Clock
from octy_worker.dev.processes import ProcessError
from octy_worker.private_files import write_private

HANDLE = "demo.staff"
_STEP = 30  # seconds of a one-time password
_LATE = 25.0  # seconds: a code is shown that much later than it could be, so that three in a row need no wait
_TIMEOUT = 60.0  # seconds of a command


class StaffMember:
    """The files of one staff member, and the commands that this person runs.

    `environment`: of the commands; it is read again for each, so that settings can be added.
    """

    def __init__(self, folder: Path, environment: Callable[[], Mapping[str, str]]) -> None:
        self.folder = folder
        self.key = folder / HANDLE
        self.codes = CodeGenerator(folder)
        self._environment = environment

    @property
    def is_enrolled(self) -> bool:
        """Whether a second factor was registered in an earlier run."""
        return self.codes.is_ready

    @property
    def code_command(self) -> str:
        """The command that prints one-time passwords."""
        return shlex.join([sys.executable, "-m", "octy_worker.dev.staff_member", str(self.folder)])

    def make_authority(self) -> str:
        """Return the public key of the built-in authority, made now unless it is there."""
        keys = json.loads(self._octy("staff", "ca", "show", "--json"))["keys"]
        if keys:
            return str(keys[-1]["public_key"])
        return str(json.loads(self._octy("staff", "ca", "init", "--json"))["public_key"])

    def certify(self) -> None:
        """Make the key unless it is there, and get a certificate for eight hours from the built-in authority."""
        if not self.key.exists():
            _make_key(self.key)
        self._octy("staff", "certificate", HANDLE, "--key", f"{self.key}.pub", "--for", "8h")

    def bootstrap(self) -> str:
        """Become the first admin; return the token of the enrolment."""
        return str(json.loads(self._octy("staff", "bootstrap", HANDLE, "--json"))["token"])

    def enroll(self, token: str) -> None:
        """Register a one-time password, as an authenticator app would after the scan of its QR code."""
        command = [*_COMMAND, "--sign", str(self.key), "staff", "enroll", "--token", token, "--json"]
        with subprocess.Popen(  # noqa: S603  # a fixed argument list, no shell
            command, env=dict(self._environment()), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        ) as process:  # fmt: skip
            assert process.stdout is not None
            if shown := process.stdout.readline():
                self.codes.keep(json.loads(shown)["secret"])
            output, errors = process.communicate(f"{self.codes.next()}\n" if shown else "", timeout=_TIMEOUT)
        if process.returncode != 0:
            self.codes.forget()
            raise ProcessError(f"octy staff enroll ended with {process.returncode}: {output}{errors}")

    def log_in(self, server: str) -> None:
        """Open a session at the staff API."""
        self._octy("login", server)

    def order(self, server: str, *words: str) -> None:
        """Run a command that changes something, at the staff API: signed, with the next one-time password."""
        self._octy("--server", server, *words)

    def _octy(self, *words: str) -> str:
        return run_octy(words, {**self._environment(), "XDG_STATE_HOME": str(self.folder)})


class CodeGenerator:
    """An authenticator app in files: RFC 6238 with six digits and 30 seconds. It returns no code twice."""

    def __init__(self, folder: Path, clock: Clock = time.time) -> None:
        self._secret = folder / "one-time-password"
        self._last = folder / "last-code"
        self._clock = clock

    @property
    def is_ready(self) -> bool:
        """Whether it has a secret."""
        return self._secret.exists()

    def keep(self, secret: str) -> None:
        """Keep the secret (Base32) that an enrolment shows."""
        write_private(self._secret, f"{secret}\n")

    def forget(self) -> None:
        """Remove the secret of an enrolment that failed."""
        self._secret.unlink(missing_ok=True)

    def next(self, pause: Callable[[float], None] = time.sleep) -> str:
        """Return a code that was not returned before; wait for up to 30 seconds if need be."""
        last = int(self._last.read_text("utf-8")) if self._last.exists() else 0
        counter = max(int(self._clock() - _LATE) // _STEP, last + 1)
        while counter > int(self._clock()) // _STEP + 1:  # codes of the next step are accepted, later ones are not
            pause(0.2)
        write_private(self._last, f"{counter}\n")
        return str(TOTP(key=self._secret.read_text("utf-8").strip()).generate(time=counter * _STEP).token)


def run_octy(words: Sequence[str], environment: Mapping[str, str]) -> str:
    """Run a command; return what it printed. Raises ProcessError with its errors when it fails."""
    done: Any = subprocess.run(  # noqa: S603  # a fixed argument list, no shell
        [*_COMMAND, *words], env=dict(environment), capture_output=True, text=True, check=False, timeout=_TIMEOUT
    )
    if done.returncode != 0:
        shown = " ".join(word for word in words[:6] if not word.startswith("-"))
        raise ProcessError(f"octy {shown} ended with {done.returncode}: {done.stdout}{done.stderr}")
    return str(done.stdout)


_COMMAND = (sys.executable, "-m", "octy_worker")


def _make_key(path: Path) -> None:
    """Make an Ed25519 key without a passphrase, as `ssh-keygen` does; OpenSSH need not be installed."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = Ed25519PrivateKey.generate()
    write_private(path, key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode())
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    path.with_name(f"{path.name}.pub").write_text(f"{public} {HANDLE}\n", "utf-8")


if __name__ == "__main__":
    print(CodeGenerator(Path(sys.argv[1])).next())  # noqa: T201
