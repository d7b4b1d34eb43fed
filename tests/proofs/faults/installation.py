"""The installation under test: each part is a real process, with a proxy in front of each server.

Everything starts from the main thread, because the kernel kills a child when the thread that started it ends.
"""

import ssl
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import psutil
from support.databases import make_empty_database
from support.paths import TESTS
from support.postgres import PostgresServer
from support.until import until

from octy_middleware import Database
from octy_middleware.db.migrations import upgrade
from octy_middleware.keys.keychain import Keychain
from octy_worker.dev import LOOPBACK, environment
from octy_worker.dev.certificates import ensure_certificate
from octy_worker.dev.inbox import Inbox
from octy_worker.dev.mail_sink import sink_command
from octy_worker.dev.processes import ProcessGroup, free_port, is_listening
from octy_worker.dev.temporal_server import start_temporal
from proofs.faults import clock_offset
from proofs.faults.options import RunOptions
from proofs.faults.parts import DatabaseServer, Part
from proofs.faults.second_installation import SecondInstallation
from proofs.faults.tcp_proxy import TcpProxy
from proofs.load.commit_log import create_commit_log
from proofs.load.servers import App, command

APPS = {"asgi": "starlette", "wsgi": "flask"}
_APP = App(TESTS, "proofs.faults.apps:starlette_app", "proofs.faults.apps:flask_app")
_START_TIMEOUT = 180.0  # seconds; one or two on an idle machine
_SHORT_TIMES = {  # so that incidents open and close within the run; all other settings have their defaults
    "OCTY_INCIDENT_REMIND_AFTER": "20,60",
    "OCTY_ALERT_GROUP_INTERVAL": "10",
    "OCTY_SMTP_TIMEOUT": "4",
    "OCTY_COMMIT_TIMEOUT": "3",
    "OCTY_RELAY_LEASE": "10",
}


class Installation:
    """All parts, in one folder. A context manager: every part serves when it is entered."""

    def __init__(self, options: RunOptions, folder: Path, database_folder: Path) -> None:
        self._options, self.folder, self.database_folder = options, folder, database_folder
        self.parts: dict[str, Part] = {}
        self.proxies: dict[str, TcpProxy] = {}
        self.clocks = {name: folder / f"clock-{name}" for name in ("worker", *APPS)}
        self.targets: dict[str, Part | DatabaseServer] = {}  # what may be killed
        self._servers: tuple[PostgresServer, PostgresServer] | None = None  # primary and standby
        self.inbox = Inbox(folder / "mail")
        self.attackers: dict[str, set[object]] = {app: set() for app in APPS}  # active connections by app

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._resources = stack
            self._start()
            self._resources = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        for part in self.parts.values():  # everything is read by now, so no part needs to stop in order
            part.kill(0.0)
        self._resources.close()

    def tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self._certificate.ca)

    def port_of(self, name: str) -> int:
        return self.parts[name].port

    def fail_over(self, *, to_standby: bool) -> None:
        """Connect the database's address to its read-only standby, or to the primary again."""
        assert self._servers is not None
        primary, standby = self._servers
        self.proxies["database"].fail_over((standby if to_standby else primary).port)

    def supervise(self) -> None:
        """Start what is due."""
        for part in self.parts.values():
            part.supervise(self._group)

    def restore(self) -> None:
        """Set clocks right, start what is down, and wait until every part serves.

        Raises AssertionError with the logs of those that do not.
        """
        for clock in self.clocks.values():
            clock_offset.write(clock, 0.0)
        for target in self.targets.values():
            target.start_now()
        until(self._all_serve, _START_TIMEOUT, self, interval=0.05)

    def _all_serve(self) -> bool:
        self.supervise()
        return all(is_listening(part.port) for part in self.parts.values())

    def __str__(self) -> str:
        """Return which parts do not serve, and the ends of their logs."""
        down = [part for part in self.parts.values() if not is_listening(part.port)]
        return "\n".join(f"{part.name} does not serve:\n{part.process and part.process.log_tail()}" for part in down)

    def _start(self) -> None:
        self._certificate = ensure_certificate(self.folder / "tls")
        for clock in self.clocks.values():
            clock_offset.write(clock, 0.0)
        database_url = self._open_database()
        temporal, smtp, pages = free_port(), free_port(), free_port()
        self.proxies |= {"temporal": self._proxy(temporal), "smtp": self._proxy(smtp)}
        self.env = self._variables(database_url, pages)
        environment.write(self.folder / "env", self.env)
        outer = {**environment.inherited_environment(), "PYTHONPATH": str(TESTS), "PYTHONUNBUFFERED": "1"}
        self._group = self._resources.enter_context(ProcessGroup(self.folder / "logs", {**outer, **self.env}))
        first = start_temporal(self._group, self.folder / "temporal.db", port=temporal, ui_port=None)
        self._add("temporal", temporal, psutil.Process(first.pid).cmdline()).process = first
        self._add(
            "mail", smtp, sink_command(self.inbox.folder, self._certificate, smtp_port=smtp, page_port=free_port())
        )
        self._add("worker", pages, self._with_clock("worker", [self._options.worker, "worker"]))
        for name, adapter in APPS.items():
            port = free_port()
            self._add(name, port, self._with_clock(name, command(adapter, _APP, port, 1 if name == "asgi" else 2)))
        self.targets |= self.parts
        # Never killed: a host app that has other peppers, and the worker of a second installation
        port = free_port()
        foreign = self._add("foreign", port, [sys.executable, "-m", *command("starlette", _APP, port, 1)])
        foreign.environment["OCTY_PEPPERS"] = Keychain.generate().export()
        self.second = SecondInstallation(self.folder / "second", self.inbox)
        self._resources.callback(self.second.close)
        second = self._add("second", free_port(), [sys.executable, "-m", "octy_worker", "worker"])
        second.environment |= {**self.second.variables(), **_pages_variables(second.port)}
        self.restore()

    def _open_database(self) -> str:
        """Create the database and its commit log. Return the URL that the parts use."""
        if self._options.database == "sqlite":
            own_url = url = f"sqlite:///{self.database_folder / 'octy.db'}"
        else:
            primary = self._resources.enter_context(PostgresServer(durable=True))
            own_url = make_empty_database(self.folder, self._options.database, primary)
            self.proxies["database"] = self._proxy(primary.port)
            url = own_url.replace(f":{primary.port}/", f":{self.proxies['database'].port}/")
        self.database = Database(own_url)
        self._resources.callback(self.database.close)
        upgrade(self.database)
        create_commit_log(self.database)
        if self._options.database != "sqlite":
            self._servers = primary, self._resources.enter_context(PostgresServer(primary=primary))
            self.targets["database"] = DatabaseServer(primary)
        return url

    def _variables(self, database_url: str, pages: int) -> dict[str, str]:
        return {
            **environment.load_or_create_secrets(self.folder / "env"),
            **_SHORT_TIMES,
            **_pages_variables(pages),
            "OCTY_STAFF_AUTH": "off",
            "OCTY_OVERLAP": str(self._options.overlap),
            "OCTY_DATABASE_URL": database_url,
            "OCTY_TEMPORAL_ADDRESS": f"{LOOPBACK}:{self.proxies['temporal'].port}",
            "OCTY_SMTP_HOST": LOOPBACK,
            "OCTY_SMTP_PORT": str(self.proxies["smtp"].port),
            "OCTY_SMTP_CA_FILE": str(self._certificate.ca),
            "OCTY_PAGES_HOST": LOOPBACK,
            "OCTY_PAGES_CERTIFICATE": str(self._certificate.chain),
            "OCTY_PAGES_PRIVATE_KEY": str(self._certificate.key),
            "OCTY_TRUSTED_PROXIES": LOOPBACK,
        }

    def _proxy(self, target: int) -> TcpProxy:
        return self._resources.enter_context(TcpProxy(target))

    def _with_clock(self, name: str, module: Sequence[str]) -> list[str]:
        return [sys.executable, "-m", "proofs.faults.clock_offset", str(self.clocks[name]), *module]

    def _add(self, name: str, port: int, command: Sequence[str]) -> Part:
        self.parts[name] = Part(name, command, port)
        return self.parts[name]


def _pages_variables(port: int) -> dict[str, str]:
    return {"OCTY_PAGES_PORT": str(port), "OCTY_PUBLIC_URL": f"https://localhost:{port}"}
