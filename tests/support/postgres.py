"""A real PostgreSQL server for tests and benchmarks, from nothing.

Here: make a server, start, stop, kill and pause it, make and drop its databases.
Not here: its programs (`postgres_binaries`); its end when the test process dies first (`postgres_keeper`).
"""

import atexit
import contextlib
import functools
import os
import pwd
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import psutil
import psycopg
from psycopg import sql

from octy_worker.dev.processes import free_port
from support import postgres_keeper as keeper
from support.postgres_binaries import SERVANT, candidates, copy_wheel, find_binaries, open_to_others
from support.until import until

USER = "octy"
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "300",
    "shared_buffers": "64MB",
    "dynamic_shared_memory_type": "mmap",  # files in the data folder: a killed server leaves nothing elsewhere
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_messages": "warning",
}
_HASTY = {"fsync": "off", "full_page_writes": "off"}
_SIGNALS = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT}
_TIMEOUT = 120.0  # seconds for a start: the recovery of a large database takes its time
_TAIL = 20


class PostgresServer:
    """One server on 127.0.0.1 with a folder of its own. Use it from the process that made it."""

    def __init__(self, *, durable: bool = False, primary: "PostgresServer | None" = None) -> None:
        """`durable`: what is committed survives a power cut. Without: only the death of the server, but it is fast.

        `primary`: be a standby of that running server, which follows it and can be read.
        """
        self.durable = durable
        self._primary = primary
        self.port = free_port()
        self._owner = os.getpid()
        self._servant = pwd.getpwnam(SERVANT) if os.geteuid() == 0 else None
        self.folder: Path | None = None
        self.binaries = Path()
        self.process: subprocess.Popen[bytes] | None = None
        self.keeper: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Return when it accepts connections. The first start makes the data; one after a kill recovers them."""
        if self._running():
            return
        if self.folder is None:
            self._prepare()
        keeper.kill(self._home)  # what a postmaster that died by itself left behind
        own = {"port": str(self.port), "cluster_name": self._home.name}
        settings = {**_SETTINGS, **({} if self.durable else _HASTY), **own}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with self._log.open("ab") as log:
            self.process = self._popen("postgres", ["-D", str(self._data), *options], log)
        self._wait_until_ready(self.process)

    def stop(self, mode: str = "fast") -> None:
        """End it and wait: "fast" tidies up first, "immediate" leaves a recovery to the next start."""
        if self.process is not None and self._running():
            self.process.send_signal(_SIGNALS[mode])
            self.resume()  # a paused one takes its signals only now
            self.process.wait(_TIMEOUT)

    def kill(self) -> None:
        """Kill -9 the postmaster, then its children; return when all are gone."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            keeper.kill(self._home)

    def pause(self) -> None:
        """Let it hang: connections stay open, and nothing answers."""
        if self.process is not None and self._running():
            self.process.send_signal(signal.SIGSTOP)  # it first: from now on no child is born
            for process in keeper.members(self._home):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.suspend()

    def resume(self) -> None:
        for process in keeper.members(self._home):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()

    def url(self, database: str) -> str:
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{quote(database, safe='')}"

    def create(self, database: str, template: str = "template0") -> None:
        names = map(sql.Identifier, (database, template))
        self._administer(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(*names))

    def drop(self, database: str) -> None:
        """Drop it, and end its connections."""
        self._administer(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(database)))

    def lock_out(self, database: str) -> None:
        """End the connections to a database, and allow no new ones."""
        self._administer(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(sql.Identifier(database)))
        throw_out = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = {}"
        self._administer(sql.SQL(throw_out).format(sql.Literal(database)))

    def let_in(self, database: str) -> None:
        self._administer(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(sql.Identifier(database)))

    def close(self) -> None:
        """End it at once, dead or alive, and remove its folder. A forked child's call leaves its parent's server be."""
        if self.folder is None:
            return
        if os.getpid() != self._owner:
            self._disown()
            return
        self.kill()
        keeper.wipe(self.folder)
        if self.keeper is not None:
            self.keeper.kill()
            self.keeper.wait()
        self.folder = self.process = self.keeper = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _home(self) -> Path:
        assert self.folder is not None
        return self.folder

    @property
    def _data(self) -> Path:
        return self._home / keeper.DATA

    @property
    def _log(self) -> Path:
        return self._home / "server.log"

    def _running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def _disown(self) -> None:
        for process in (self.process, self.keeper):
            if process is not None:
                process.returncode = 0  # else its end warns of a running child, which is not this process's

    def _prepare(self) -> None:
        binaries = find_binaries(candidates())
        self.folder = Path(tempfile.mkdtemp(prefix="octy-postgres-")).resolve()
        watch = [sys.executable, "-P", keeper.__file__, str(self._owner), str(self.folder)]
        self.keeper = subprocess.Popen(watch, stdin=subprocess.DEVNULL, start_new_session=True)
        try:
            self.binaries = self._hand_over(binaries, self.folder)
            self._initialise()
        except BaseException:
            self.close()
            raise

    def _hand_over(self, binaries: Path, folder: Path) -> Path:
        """Give the folder to the user who runs the server; return programs that this user can reach."""
        if self._servant is None:
            return binaries
        if not open_to_others(folder.parent):
            raise RuntimeError(f"{folder.parent} is closed to the user {SERVANT!r}: set TMPDIR to a folder open to all")
        if not open_to_others(binaries / "postgres"):
            binaries = copy_wheel(binaries, folder)
        for path in (folder, *folder.rglob("*")):
            os.chown(path, self._servant.pw_uid, self._servant.pw_gid, follow_symlinks=False)
        return binaries

    def _initialise(self) -> None:
        sync = [] if self.durable else ["--no-sync"]
        if self._primary is None:
            program = "initdb"
            options = ["--encoding=UTF8", "--locale=C", "--auth=trust", f"--username={USER}", "--no-instructions"]
        else:
            program = "pg_basebackup"
            source = ["--host=127.0.0.1", f"--port={self._primary.port}", f"--username={USER}"]
            options = [*source, "--write-recovery-conf", "--checkpoint=fast"]
        with self._log.open("ab") as log:
            made = self._popen(program, ["-D", str(self._data), *options, *sync], log)
        try:
            if made.wait(_TIMEOUT) != 0:
                raise RuntimeError(f"{program} failed:\n{self._log_tail()}")
        finally:
            made.kill()  # on Ctrl-C, which it does not get
            made.wait()

    def _popen(self, program: str, arguments: list[str], log: Any) -> subprocess.Popen[bytes]:
        """Start a program of the server: away from Ctrl-C, which would stop it before its users."""
        user: dict[str, Any] = {}
        if self._servant is not None:
            user = {"user": self._servant.pw_uid, "group": self._servant.pw_gid, "extra_groups": []}
        return subprocess.Popen(
            [str(self.binaries / program), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=self.folder,
            env={name: value for name, value in os.environ.items() if not name.startswith("PG")},
            start_new_session=True,
            **user,
        )

    def _wait_until_ready(self, child: subprocess.Popen[bytes]) -> None:
        with contextlib.suppress(AssertionError):
            until(lambda: self._ready(child.pid) or child.poll() is not None, _TIMEOUT)
        if not self._ready(child.pid):
            tail = self._log_tail()
            self.kill()
            raise RuntimeError(f"PostgreSQL did not start (status {child.returncode}):\n{tail}")

    def _ready(self, pid: int) -> bool:
        """Read the lock file, as pg_ctl does: the first line says whose it is, the eighth its state."""
        with contextlib.suppress(FileNotFoundError):
            lines = self._data.joinpath("postmaster.pid").read_text().splitlines()
            return len(lines) > 7 and lines[0] == str(pid) and lines[7].strip() == "ready"
        return False

    def _log_tail(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-_TAIL:])

    def _administer(self, statement: sql.Composed) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement)


@functools.cache
def shared_server() -> PostgresServer:
    """Return this process's server for tests, started at the first use."""
    server = PostgresServer()
    server.start()
    atexit.register(server.close)
    return server
