"""The embedded stack: every real part on loopback, its state in one folder, up and down in order.

Here: which parts there are, how each is started, and where each is reached. Not here: what is done with them
(`dev_command`, `demo`).
"""

import fcntl
import random
import ssl
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx2

from octy_middleware.db.database import Database
from octy_middleware.db.migrations import upgrade
from octy_middleware.errors import ConfigurationError
from octy_worker.dev import LOOPBACK, environment
from octy_worker.dev.certificates import provide
from octy_worker.dev.inbox import Inbox, ReceivedMail
from octy_worker.dev.mail_sink import sink_command
from octy_worker.dev.processes import ProcessGroup, free_port, is_free, listens
from octy_worker.dev.temporal_server import NAMESPACE, find_temporal, start_temporal

APP = "starlette_app"
_START_TIMEOUT = 60.0  # seconds; a cold disk and a busy machine, else about 1
_LOOK = 0.5  # seconds between two looks at the parts while a mail is awaited
_CHECKOUT_EXAMPLES = Path(__file__).parents[3] / "examples"


@dataclass(frozen=True)
class Ports:
    """Where the parts listen on loopback; the defaults are those of `octy dev`."""

    api: int = 8443
    pages: int = 8025
    inbox: int = 8026
    smtp: int = 8027
    temporal: int = 7233
    temporal_ui: int = 8233


class Stack:
    """Everything of `octy dev` and `octy demo`. A context manager: up when entered, gone when left.

    The constructor decides ports, secrets and addresses; entering does the work, and says one line a step to
    `report`. `fixed_ports` takes those of `Ports`, or a free one for one that is taken, and serves Temporal's Web UI.
    `examples` is the folder of the example apps; without it, that of the source checkout. `database` is the URL of a
    database elsewhere; without it, a file in the folder.
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
        self.temporal_address = f"{LOOPBACK}:{self._ports.temporal}"
        self.temporal_ui = f"http://{LOOPBACK}:{self._ports.temporal_ui}" if fixed_ports else None
        self.env_file = self.folder / "env"
        self.mails = Inbox(self.folder / "mail")

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._resources.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._report("Stopping")
        self._resources.close()

    def check(self) -> None:
        """Raise ProcessError when a part has died."""
        self.processes.check()

    def wait_for_mail(self, what: str, fits: Callable[[ReceivedMail], bool], timeout: float) -> ReceivedMail:
        """Return the first fitting mail; raise ProcessError when a part dies meanwhile, TimeoutError in the end."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            self.check()
            with suppress(TimeoutError):
                return self.mails.wait_for(fits, _LOOK)
        raise TimeoutError(f"{what} did not come within {timeout:g} s; {len(self.mails.messages())} mails are there")

    def command_environment(self) -> dict[str, str]:
        """Return the variables with which an `octy` command works on this stack."""
        return {**environment.outer_environment(), **self.env, "PYTHONUNBUFFERED": "1"}

    def tls_context(self) -> ssl.SSLContext:
        """Return what a client needs to verify the stack's servers."""
        return ssl.create_default_context(cafile=self.ca_file)

    def _start(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._resources.enter_context(_alone_in(self.folder))
        self._certificate = provide(self.folder / "tls")
        self.ca_file = self._certificate.ca
        self.env = self._variables()
        environment.write(self.env_file, self.env)
        self._report(f"Settings and certificate in {self.folder}")
        self._resources.callback(self.database.close)
        upgrade(self.database)
        self._report(f"Database {self.database.url}")
        self.processes = self._resources.enter_context(ProcessGroup(self.folder / "logs", self.command_environment()))
        self.start_temporal()
        self.start_mail()
        self.start_worker()
        self.start_api()

    def start_temporal(self) -> None:
        """Start the Temporal dev server, anew after it was stopped."""
        ui_port = self._ports.temporal_ui if self._with_ui else None
        start_temporal(self.processes, self.folder / "temporal.db", port=self._ports.temporal, ui_port=ui_port)
        self._report(f"Temporal {self.temporal_address}")

    def start_mail(self) -> None:
        """Start the mail sink and its inbox page."""
        smtp, page = self._ports.smtp, self._ports.inbox
        command = sink_command(self.mails.folder, self._certificate, smtp_port=smtp, page_port=page)
        process = self.processes.start("mail", command)
        process.wait_until(lambda: listens(smtp) and self._answers(self.inbox), _START_TIMEOUT)
        self._report(f"Mail sink {LOOPBACK}:{smtp}, inbox {self.inbox}")

    def start_worker(self) -> None:
        """Start the worker with the pages."""
        process = self.processes.start("worker", [sys.executable, "-m", "octy_worker", "worker"])
        process.wait_until(lambda: self._answers(f"{self.pages}/healthz"), _START_TIMEOUT)
        self._report(f"Worker, pages {self.pages}")

    def start_api(self) -> None:
        """Start the example app behind TLS. It believes forwarding headers from loopback: its client is the proxy."""
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
        process.wait_until(lambda: listens(self._ports.api), _START_TIMEOUT)
        self._report(f"Example API {self.api}")

    def _answers(self, url: str) -> bool:
        try:
            return httpx2.get(url, verify=self.tls_context(), trust_env=False).is_success
        except httpx2.TransportError:
            return False

    def _variables(self) -> dict[str, str]:
        return {
            **environment.kept_secrets(self.env_file),
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
        }


def _find_examples(given: Path | None) -> Path:
    folder = (given or _CHECKOUT_EXAMPLES).absolute()
    if not (folder / f"{APP}.py").is_file():
        raise ConfigurationError(
            f"there is no {APP}.py in {folder}: an installed package comes without the example apps. "
            "Run this in a source checkout, or name the folder of its examples."
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
            ports = replace(ports, **{field.name: free_port()})
            report(f"Port {wanted} ({field.name}) is taken: {getattr(ports, field.name)} is used this time")
    return ports


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; two stacks on one set of database files would spoil both."""
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigurationError(f"another stack runs in {folder}: stop it, or use another folder") from None
        yield
