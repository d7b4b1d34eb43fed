"""The installation under fault: every part a real process, and a proxy in front of every server.

Here: what runs and how each part is started, killed and started again, without waiting for it. Not here: when
(`chaos`). Everything starts from the main thread, as `octy_worker.dev.processes` asks.
"""

import contextlib
import os
import signal
import ssl
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from support.postgres import PostgresServer
from support.stores import make_empty_database

from octy_middleware import Database
from octy_middleware.db.migrations import upgrade
from octy_middleware.keys.keychain import Keychain
from octy_worker.dev import LOOPBACK, environment
from octy_worker.dev.certificates import ensure_certificate
from octy_worker.dev.inbox import Inbox
from octy_worker.dev.mail_sink import sink_command
from octy_worker.dev.processes import Process, ProcessGroup, free_port, is_listening
from octy_worker.dev.temporal_server import start_temporal
from proofs.faults import clock_offset
from proofs.faults.second_installation import SecondInstallation
from proofs.faults.tcp_proxy import Mode, Proxy
from proofs.load.commit_log import create_commit_log
from proofs.load.servers import TESTS, App, command

APPS = {"asgi": "starlette", "wsgi": "flask"}
BESIDE = ("foreign", "second")
"""Parts that are no part of the installation: they are there all the time, and are not killed."""
_APP = App(TESTS, "proofs.faults.apps:starlette_app", "proofs.faults.apps:flask_app")
_PATIENCE = 60.0  # seconds for a part's start; a busy machine, else one or two
_SHORT = {  # whole lives of cases within the run; what is not here is as in production
    "OCTY_INCIDENT_REMIND_AFTER": "20,60",
    "OCTY_ALERT_GROUP_INTERVAL": "10",
    "OCTY_SMTP_TIMEOUT": "4",
    "OCTY_COMMIT_TIMEOUT": "3",
    "OCTY_RELAY_LEASE": "10",
}


class BrokenPlaceError(Exception):
    """A part does not come up; the text holds the end of its log."""


@dataclass
class Part:
    """One process that can be killed, as often as one likes."""

    name: str
    command: Sequence[str]
    port: int
    process: Process | None = None
    due: float | None = None  # when it is to be started again, while it is down on purpose
    ends: list[str] = field(default_factory=list)  # how it ended by itself: its status, its last words

    @property
    def runs(self) -> bool:
        return self.process is not None and self.process.returncode is None


class Place:
    """All of it, in one folder. A context manager: up when entered, gone when left.

    `worker` names the module that is run as the worker; `overlap` is how many seconds an old pair lives on.
    """

    def __init__(self, folder: Path, store: str, *, store_folder: Path, worker: str, overlap: float) -> None:
        self.folder, self.store = folder, store
        self.store_folder = store_folder
        self._worker, self._overlap = worker, overlap
        self._resources = ExitStack()
        self.parts: dict[str, Part] = {}
        self.proxies: dict[str, Proxy] = {}
        self.clocks = {name: folder / f"clock-{name}" for name in ("worker", *APPS)}
        self.server: PostgresServer | None = None
        self.standby: PostgresServer | None = None
        self._recovery: threading.Thread | None = None
        self.inbox = Inbox(folder / "mail")
        self.attackers: dict[str, set[object]] = {app: set() for app in APPS}  # at work now, by the app they ask

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
        for name in self.parts:  # all is known by now: nobody needs to end in order
            self.kill(name, 0.0)
        self._resources.close()

    @property
    def victims(self) -> tuple[str, ...]:
        return (*(name for name in self.parts if name not in BESIDE), *(["database"] if self.server else []))

    def tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self._certificate.ca)

    def port_of(self, name: str) -> int:
        return self.parts[name].port

    def kill(self, name: str, downtime: float) -> bool:
        """Kill -9 a part with all its children, for so long; False when it is down already."""
        if name == "database":
            return self._kill_server(downtime)
        part = self.parts[name]
        if not part.runs:
            return False
        assert part.process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(part.process.pid, signal.SIGKILL)
        part.due = time.monotonic() + downtime
        return True

    def freeze(self, name: str) -> Callable[[], None] | None:
        """Stop a part with all its children (SIGSTOP); return what lets it go on, or None when it is down."""
        part = self.parts[name]
        if part.process is None or not part.runs:
            return None
        pid = part.process.pid
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGSTOP)

        def go_on() -> None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGCONT)

        return go_on

    def lead_to_standby(self, *, wanted: bool) -> None:
        """Have the database's address lead to its read-only standby, or to the primary again; open connections end."""
        assert self.standby is not None
        assert self.server is not None
        proxy = self.proxies["database"]
        proxy.set(Mode.REFUSE)
        proxy.lead_to(self.standby.port if wanted else self.server.port)
        proxy.set(Mode.PASS)

    def kill_child(self, name: str) -> bool:
        """Kill -9 one forked child of a part that forks, which has to replace it itself."""
        part = self.parts[name]
        if part.process is None or not part.runs:
            return False
        pid = part.process.pid
        with contextlib.suppress(OSError, IndexError):
            os.kill(int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0]), signal.SIGKILL)
            return True
        return False

    def tend(self) -> None:
        """Start what is due; a part that ended by itself is started at once, and remembered for it."""
        for part in self.parts.values():
            if part.process is not None and part.runs:
                continue
            if part.due is None and part.process is not None:
                last = part.process.log_tail().rpartition("\n")[2]
                part.ends.append(f"{part.name} ended by itself with status {part.process.returncode}: {last[:300]}")
            if part.due is None or part.due <= time.monotonic():
                part.due = None
                part.process = self._group.start(part.name, part.command)

    def heal(self) -> None:
        """Undo everything, and wait until every part serves."""
        for proxy in self.proxies.values():
            proxy.set(Mode.PASS)
        if self.standby is not None:
            self.lead_to_standby(wanted=False)
        for clock in self.clocks.values():
            clock_offset.move(clock, 0.0)
        if self._recovery is not None:
            self._recovery.join()
        for part in self.parts.values():
            part.due = None if part.due is None else 0.0
        self._wait(lambda: all(is_listening(part.port) for part in self.parts.values()))

    def _wait(self, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _PATIENCE
        while not ready():
            self.tend()
            if time.monotonic() > deadline:
                away = [part for part in self.parts.values() if not is_listening(part.port)]
                tails = [part.process.log_tail() for part in away if part.process]
                raise BrokenPlaceError(f"not up after {_PATIENCE:g} s: {[p.name for p in away]}\n" + "\n".join(tails))
            time.sleep(0.05)

    def _kill_server(self, downtime: float) -> bool:
        """End PostgreSQL in one of two rude ways, by turns; a thread has it back after a while."""
        server = self.server
        if server is None or (self._recovery is not None and self._recovery.is_alive()):
            return False
        self._rude = not self._rude
        if self._rude:
            server.kill()
        else:
            server.stop("immediate")

        def recover() -> None:
            time.sleep(downtime)
            server.start()

        self._recovery = threading.Thread(target=recover, daemon=True)
        self._recovery.start()
        return True

    # How it is made

    def _start(self) -> None:
        self._rude = False
        self._certificate = ensure_certificate(self.folder / "tls")
        for clock in self.clocks.values():
            clock_offset.make(clock)
        self._open_store()
        temporal, smtp = free_port(), free_port()
        pages = free_port()
        self.proxies |= {"temporal": self._proxy(temporal), "smtp": self._proxy(smtp)}
        self.env = self._variables(pages)
        environment.write(self.folder / "env", self.env)
        outer = {**environment.inherited_environment(), "PYTHONPATH": str(TESTS), "PYTHONUNBUFFERED": "1"}
        self._group = self._resources.enter_context(ProcessGroup(self.folder / "logs", {**outer, **self.env}))
        first = start_temporal(self._group, self.folder / "temporal.db", port=temporal, ui_port=None)
        self._add("temporal", _command_of(first), temporal, first)
        self._add(
            "mail",
            sink_command(self.inbox.folder, self._certificate, smtp_port=smtp, page_port=free_port()),
            smtp,
        )
        self._add("worker", self._shifted("worker", [self._worker, "worker"]), pages)
        for name, adapter in APPS.items():
            port = free_port()
            self._add(name, self._shifted(name, command(adapter, _APP, port, 1 if adapter == "starlette" else 2)), port)
        self._add_bystanders()
        self.heal()

    def _add_bystanders(self) -> None:
        """Add a host app whose peppers are not ours, and the worker of a second installation."""
        port = free_port()
        foreign = [sys.executable, "-m", *command("starlette", _APP, port, 1)]
        self._add("foreign", _with({"OCTY_PEPPERS": Keychain.generate().export()}, foreign), port)
        self.second = SecondInstallation(self.folder / "second", self.inbox)
        self._resources.callback(self.second.close)
        pages = free_port()
        own = {**self.second.variables(self.env), "OCTY_PAGES_PORT": str(pages)}
        own["OCTY_PUBLIC_URL"] = f"https://localhost:{pages}"
        self._add("second", _with(own, [sys.executable, "-m", "octy_worker", "worker"]), pages)

    def _open_store(self) -> None:
        if self.store == "sqlite":
            url = f"sqlite:///{self.store_folder / 'octy.db'}"
            self.database_url = url
        else:
            self.server = self._resources.enter_context(PostgresServer(durable=True))
            url = make_empty_database(self.folder, self.store, self.server)
            self.proxies["database"] = self._proxy(self.server.port)
            self.database_url = url.replace(f":{self.server.port}/", f":{self.proxies['database'].port}/")
        self.database = Database(url)
        self._resources.callback(self.database.close)
        upgrade(self.database)
        create_commit_log(self.database)
        if self.server is not None:
            self.standby = self._resources.enter_context(PostgresServer(primary=self.server))

    def _variables(self, pages: int) -> dict[str, str]:
        return {
            **environment.load_or_create_secrets(self.folder / "env"),
            **_SHORT,
            "OCTY_OVERLAP": str(self._overlap),
            "OCTY_DATABASE_URL": self.database_url,
            "OCTY_TEMPORAL_ADDRESS": f"{LOOPBACK}:{self.proxies['temporal'].port}",
            "OCTY_SMTP_HOST": LOOPBACK,
            "OCTY_SMTP_PORT": str(self.proxies["smtp"].port),
            "OCTY_SMTP_CA_FILE": str(self._certificate.ca),
            "OCTY_PUBLIC_URL": f"https://localhost:{pages}",
            "OCTY_PAGES_HOST": LOOPBACK,
            "OCTY_PAGES_PORT": str(pages),
            "OCTY_PAGES_CERTIFICATE": str(self._certificate.chain),
            "OCTY_PAGES_PRIVATE_KEY": str(self._certificate.key),
            "OCTY_TRUSTED_PROXIES": LOOPBACK,
        }

    def _proxy(self, behind: int) -> Proxy:
        return self._resources.enter_context(Proxy(behind))

    def _shifted(self, clock: str, module: Sequence[str]) -> list[str]:
        return [sys.executable, "-m", "proofs.faults.clock_offset", str(self.clocks[clock]), *module]

    def _add(self, name: str, arguments: Sequence[str], port: int, process: Process | None = None) -> None:
        self.parts[name] = Part(name, arguments, port, process)


def _with(variables: Mapping[str, str], arguments: Sequence[str]) -> list[str]:
    """Return a command that runs with these variables beside the group's."""
    return ["/usr/bin/env", *(f"{name}={value}" for name, value in variables.items()), *arguments]


def _command_of(process: Process) -> list[str]:
    """Return what a child runs, past its trampoline: the same server again, on the same file."""
    words = Path(f"/proc/{process.pid}/cmdline").read_bytes().decode().split("\0")
    return words[:-1]
