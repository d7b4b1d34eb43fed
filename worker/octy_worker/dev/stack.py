"""The embedded stack: starts and stops all parts on loopback, with their state in one folder."""

import fcntl
import random
import ssl
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Self

import httpx2

from octy_middleware.db.database import Database
from octy_middleware.db.migrations import upgrade
from octy_middleware.errors import ConfigurationError
from octy_worker.dev import LOOPBACK, environment
from octy_worker.dev.certificates import ensure_certificate
from octy_worker.dev.inbox import Inbox, ReceivedMail
from octy_worker.dev.mail_sink import sink_command
from octy_worker.dev.processes import ProcessError, ProcessGroup, free_port, is_free, is_listening
from octy_worker.dev.staff_member import HANDLE, StaffMember
from octy_worker.dev.temporal_server import NAMESPACE, find_temporal, start_temporal
from octy_worker.identity import keychains_from_environment, verify_installation

APP = "starlette_app"
_START_TIMEOUT = 60.0  # seconds; usually about 1
_POLL_INTERVAL = 0.5  # seconds between checks of the processes while waiting for a mail
_CHECKOUT_EXAMPLES = Path(__file__).parents[3] / "examples"


@dataclass(frozen=True)
class Ports:
    """Loopback ports of the parts; the defaults are those of `octy dev`."""

    api: int = 8443
    pages: int = 8025
    inbox: int = 8026
    smtp: int = 8027
    staff: int = 8028
    temporal: int = 7233
    temporal_ui: int = 8233


class Stack:
    """The parts of `octy dev` and `octy demo`. A context manager that starts and stops them.

    The constructor chooses ports and addresses. Entering starts the parts and calls `report` with one line per step.
    `fixed_ports`: the ports of `Ports`, or a free one for a port in use, and Temporal's Web UI. `examples`: the folder
    of the example apps; default: that of the source checkout. `database`: the URL of an external database; default: a
    file in the folder.
    """

    def __init__(
        self,
        folder: Path,
        *,
        fixed_ports: bool,
        examples: Path | None = None,
        database: str | None = None,
        report: Callable[[str], None] = lambda _line: None,
    ) -> None:
        self.folder = folder.absolute()
        self._report = report
        self._examples = _find_examples(examples)
        find_temporal()
        self._ports = _fixed_ports(report) if fixed_ports else _free_ports()
        self._with_ui = fixed_ports
        self._resources = ExitStack()

        self.database_url = database or f"sqlite:///{self.folder / 'octy.db'}"
        self.database = Database(self.database_url)
        self.api = f"https://localhost:{self._ports.api}"
        self.pages = f"https://localhost:{self._ports.pages}"
        self.inbox = f"http://{LOOPBACK}:{self._ports.inbox}"
        self.staff_api = f"http://localhost:{self._ports.staff}"  # browsers make passkeys there without a certificate
        self.temporal_address = f"{LOOPBACK}:{self._ports.temporal}"
        self.temporal_ui = f"http://{LOOPBACK}:{self._ports.temporal_ui}" if fixed_ports else None
        self.env_file = self.folder / "env"
        self.mails = Inbox(self.folder / "mail")
        self.staff = StaffMember(self.folder / "staff", self.command_environment)

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._resources.close()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        self._report("Stopping")
        self._resources.close()

    def check(self) -> None:
        """Raise ProcessError when a process has ended."""
        self.processes.check()

    def wait_for_mail(self, what: str, matches: Callable[[ReceivedMail], bool], timeout: float) -> ReceivedMail:
        """Return the first matching mail. Raises ProcessError when a process ends, or TimeoutError."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            self.check()
            with suppress(TimeoutError):
                return self.mails.wait_for(matches, _POLL_INTERVAL)
        raise TimeoutError(
            f"{what} did not arrive within {timeout:g} s; the inbox has {len(self.mails.messages())} mails"
        )

    def command_environment(self) -> dict[str, str]:
        """Return the environment variables for an `octy` command on this stack."""
        return {**environment.inherited_environment(), **self.env, "PYTHONUNBUFFERED": "1"}

    def tls_context(self) -> ssl.SSLContext:
        """Return a TLS context that trusts the stack's CA."""
        return ssl.create_default_context(cafile=self.ca_file)

    def _start(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._resources.enter_context(_folder_lock(self.folder))
        self._certificate = ensure_certificate(self.folder / "tls")
        self.ca_file = self._certificate.ca
        self.env = self._variables()
        environment.write(self.env_file, self.env)
        self._report(f"Settings and certificate in {self.folder}")
        self._resources.callback(self.database.close)
        upgrade(self.database)
        verify_installation(self.database, keychains_from_environment(self.env), time.time())
        self._report(f"Database {self.database.url}")
        self._set_up_staff()
        self.processes = self._resources.enter_context(ProcessGroup(self.folder / "logs", self.command_environment()))
        self.start_temporal()
        self.start_mail()
        self.start_worker()
        self.start_api()

    def _set_up_staff(self) -> None:
        """Have a certificate authority, and one admin with a certificate and a second factor."""
        self.env["OCTY_STAFF_CA_KEYS"] = self.staff.make_authority()
        environment.write(self.env_file, self.env)
        if not self.staff.is_enrolled:
            try:
                token = self.staff.bootstrap()
            except ProcessError as error:  # an external database has an admin, whose key is elsewhere
                self._report(f"No key of staff is in {self.staff.folder}: {str(error).strip()}")
                return
            self.staff.certify()
            self.staff.enroll(token)
        else:
            self.staff.certify()  # the last one may have expired
        self._report(f"Certificate authority of staff, and admin {HANDLE} with a certificate and one-time passwords")

    def start_temporal(self) -> None:
        """Start or restart the Temporal dev server."""
        ui_port = self._ports.temporal_ui if self._with_ui else None
        start_temporal(self.processes, self.folder / "temporal.db", port=self._ports.temporal, ui_port=ui_port)
        self._report(f"Temporal {self.temporal_address}")

    def start_mail(self) -> None:
        """Start the mail sink and its inbox page."""
        smtp, page = self._ports.smtp, self._ports.inbox
        command = sink_command(self.mails.folder, self._certificate, smtp_port=smtp, page_port=page)
        process = self.processes.start("mail", command)
        process.wait_until(lambda: is_listening(smtp) and is_listening(page), _START_TIMEOUT)
        process.wait_until(lambda: self._is_serving(self.inbox), _START_TIMEOUT)
        self._report(f"Mail sink {LOOPBACK}:{smtp}, inbox {self.inbox}")

    def start_worker(self) -> None:
        """Start the worker with the pages."""
        process = self.processes.start("worker", [sys.executable, "-m", "octy_worker", "worker"])
        process.wait_until(lambda: is_listening(self._ports.pages) and is_listening(self._ports.staff), _START_TIMEOUT)
        process.wait_until(lambda: self._is_serving(f"{self.pages}/healthz"), _START_TIMEOUT)
        self._report(f"Worker, pages {self.pages}")
        self._report(f"Staff API {self.staff_api}")

    def start_api(self) -> None:
        """Start the example app with TLS. It trusts forwarding headers from loopback."""
        process = self.processes.start(
            "api",
            [
                *(sys.executable, "-m", "uvicorn", f"{APP}:app", "--app-dir", str(self._examples)),
                *("--host", LOOPBACK, "--port", str(self._ports.api)),
                *("--ssl-certfile", str(self._certificate.chain), "--ssl-keyfile", str(self._certificate.key)),
                *("--http", "h11", "--no-proxy-headers", "--no-access-log", "--log-level", "warning"),
            ],
            {"OCTY_TRUSTED_PROXIES": LOOPBACK},
        )
        process.wait_until(lambda: is_listening(self._ports.api), _START_TIMEOUT)
        self._report(f"Example API {self.api}")

    def _is_serving(self, url: str) -> bool:
        try:
            return httpx2.get(url, verify=self.tls_context(), trust_env=False).is_success
        except httpx2.TransportError:
            return False

    def _variables(self) -> dict[str, str]:
        return {
            **environment.load_or_create_secrets(self.env_file),
            "OCTY_DATABASE_URL": self.database_url,
            "OCTY_TEMPORAL_ADDRESS": self.temporal_address,
            "OCTY_TEMPORAL_NAMESPACE": NAMESPACE,
            "OCTY_SMTP_HOST": LOOPBACK,
            "OCTY_SMTP_PORT": str(self._ports.smtp),
            "OCTY_SMTP_SECURITY": "starttls",
            "OCTY_SMTP_CA_FILE": str(self._certificate.ca),
            "OCTY_WEBHOOK_CA_FILE": str(self._certificate.ca),
            "OCTY_WEBHOOK_ALLOW_PRIVATE": "true",
            "OCTY_PUBLIC_URL": self.pages,
            "OCTY_PAGES_HOST": LOOPBACK,
            "OCTY_PAGES_PORT": str(self._ports.pages),
            "OCTY_PAGES_CERTIFICATE": str(self._certificate.chain),
            "OCTY_PAGES_PRIVATE_KEY": str(self._certificate.key),
            "OCTY_STAFF_URL": self.staff_api,
            "OCTY_STAFF_PORT": str(self._ports.staff),
            "OCTY_STAFF_KEY_FILE": str(self.staff.key),
            "OCTY_STAFF_CODE_COMMAND": self.staff.code_command,
        }


def _find_examples(given: Path | None) -> Path:
    folder = (given or _CHECKOUT_EXAMPLES).absolute()
    if not (folder / f"{APP}.py").is_file():
        raise ConfigurationError(
            f"there is no {APP}.py in {folder}: the installed package does not contain the example apps. "
            "Run this in a source checkout, or give the folder of its examples."
        )
    return folder


def _free_ports() -> Ports:
    chosen: set[int] = set()
    while len(chosen) < len(fields(Ports)):
        chosen.add(free_port())
    return Ports(*random.sample(sorted(chosen), len(chosen)))


def _fixed_ports(report: Callable[[str], None]) -> Ports:
    ports = Ports()
    for field in fields(Ports):
        wanted: int = getattr(ports, field.name)
        if not is_free(wanted):
            used = free_port()
            ports = replace(ports, **{field.name: used})
            report(f"Port {wanted} ({field.name}) is in use. Port {used} is used this time")
    return ports


@contextmanager
def _folder_lock(folder: Path) -> Iterator[None]:
    """Lock the folder: two stacks must not use the same database files."""
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigurationError(f"another stack uses {folder}: stop it, or use another folder") from None
        yield
