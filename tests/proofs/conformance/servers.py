"""How each server is started, and the process of one.

Command lines are as users write them: with the server's own reading of forwarding headers off, as the README says, and
once with default settings.
"""

import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from support.paths import TESTS
from support.until import until

from octy_worker.dev.processes import Process, free_port, is_listening
from proofs.conformance import apache

_START_TIMEOUT = 90.0
_GRACE_PERIOD = 5.0  # seconds for its end
Command = Callable[[str, int], Sequence[str]]
"""From the app, as module:name, and the port; `{folder}` becomes the cell's own."""


@dataclass(frozen=True)
class Server:
    """One way to serve. `distribution`: whose version the table names, where it is Python's."""

    name: str
    adapter: str
    distribution: str
    command: Command

    @property
    def is_installed(self) -> bool:
        """Return whether it can be started here. Of servers that are no Python package not every machine has one."""
        return bool(self.distribution) or apache.is_installed()


def _uvicorn(http: str, *options: str) -> Command:
    """h11 takes what comes whole, and refuses 64 KiB that come in pieces: without its option, a matter of luck."""
    return lambda app, port: (
        *("uvicorn", app, "--http", http, "--port", str(port), "--no-access-log", "--log-level", "info"),
        *("--h11-max-incomplete-event-size", "131072"),
        *options,
    )


def _gunicorn(worker: str, *options: str) -> Command:
    return lambda app, port: (
        *("gunicorn", app, "--worker-class", worker, "--bind", f"127.0.0.1:{port}", "--graceful-timeout", "1"),
        *options,
    )


def _waitress(*options: str) -> Command:
    return lambda app, port: ("waitress", f"--listen=127.0.0.1:{port}", *options, app)


def _granian(interface: str) -> Command:
    return lambda app, port: ("granian", app, "--interface", interface, "--port", str(port))


def _uwsgi(app: str, port: int) -> Sequence[str]:
    """As a deployment has it: master, a forked worker (rate limits are by process), threads; a stop waits."""
    return (
        *(UWSGI, "--http-socket", f"127.0.0.1:{port}", "--module", app, "--master", "--workers", "1", "--threads", "2"),
        *("--enable-threads", "--disable-logging", "--buffer-size", "32768"),
        *("--hook-master-start", "unix_signal:15 gracefully_kill_them_all"),
    )


_HYPERCORN = ("hypercorn", "--worker-class", "trio")
UWSGI = str(Path(sys.executable).with_name("uwsgi"))
_NO_PROXY_HEADERS = "--no-proxy-headers"
_TRUST_NONE = ("--forwarded-allow-ips", "")
_UVICORN_WORKER = "uvicorn.workers.UvicornWorker"

SERVERS = (
    Server("uvicorn-h11", "asgi", "uvicorn", _uvicorn("h11", _NO_PROXY_HEADERS)),
    Server("uvicorn-httptools", "asgi", "uvicorn", _uvicorn("httptools", _NO_PROXY_HEADERS)),
    Server("hypercorn", "asgi", "hypercorn", lambda app, port: ("hypercorn", app, "--bind", f"127.0.0.1:{port}")),
    Server("granian-asgi", "asgi", "granian", _granian("asgi")),
    Server("gunicorn-uvicorn", "asgi", "gunicorn", _gunicorn(_UVICORN_WORKER, *_TRUST_NONE)),
    Server("gunicorn-asgi", "asgi", "gunicorn", _gunicorn("asgi", *_TRUST_NONE)),
    Server("gunicorn-sync", "wsgi", "gunicorn", _gunicorn("sync", *_TRUST_NONE)),
    Server("gunicorn-gthread", "wsgi", "gunicorn", _gunicorn("gthread", "--threads", "4", *_TRUST_NONE)),
    Server("waitress", "wsgi", "waitress", _waitress("--no-clear-untrusted-proxy-headers")),
    Server("granian-wsgi", "wsgi", "granian", _granian("wsgi")),
)
# As they come, they believe the forwarding headers of whatever runs on the same host.
DEFAULT_SETTINGS = (
    Server("uvicorn-h11, default settings", "asgi", "uvicorn", _uvicorn("h11")),
    Server("uvicorn-httptools, default settings", "asgi", "uvicorn", _uvicorn("httptools")),
    Server("gunicorn-uvicorn, default settings", "asgi", "gunicorn", _gunicorn(_UVICORN_WORKER)),
    Server("gunicorn-asgi, default settings", "asgi", "gunicorn", _gunicorn("asgi")),
    Server("gunicorn-sync, default settings", "wsgi", "gunicorn", _gunicorn("sync")),
    Server("gunicorn-gthread, default settings", "wsgi", "gunicorn", _gunicorn("gthread", "--threads", "4")),
    Server("waitress, default settings", "wsgi", "waitress", _waitress()),
)
# Those of the smaller table.
FURTHER = (
    Server("hypercorn-trio", "asgi", "hypercorn", lambda app, port: (*_HYPERCORN, app, "--bind", f"127.0.0.1:{port}")),
    Server("daphne", "asgi", "daphne", lambda app, port: ("daphne", "-b", "127.0.0.1", "-p", str(port), app)),
    Server("gunicorn-gevent", "wsgi", "gunicorn", _gunicorn("gevent", *_TRUST_NONE)),
    Server("cheroot", "wsgi", "cheroot", lambda app, port: ("cheroot", app, "--bind", f"127.0.0.1:{port}")),
    Server("uwsgi", "wsgi", "pyuwsgi", _uwsgi),
    Server("mod_wsgi", "wsgi", "", apache.command),
)
# Ways to serve without a lifespan: what is asked is whether the last outcomes are written at a stop.
WITHOUT_LIFESPAN = (
    Server("uvicorn without lifespan", "asgi", "uvicorn", _uvicorn("h11", _NO_PROXY_HEADERS, "--lifespan", "off")),
    Server("uvicorn over WSGI", "wsgi", "uvicorn", _uvicorn("h11", _NO_PROXY_HEADERS, "--interface", "wsgi")),
)


class RunningServer:
    """A started server. Build it in the main thread: the kernel ties a child to the thread that started it."""

    def __init__(self, server: Server, app: str, folder: Path, environment: dict[str, str], *options: str) -> None:
        self.port = free_port()
        module, *arguments = server.command(app, self.port)
        program = [module] if Path(module).is_absolute() else [sys.executable, "-m", module]
        command = [part.replace("{folder}", str(folder)) for part in (*program, *arguments, *options)]
        self.process = Process(server.name, command, folder / "server.log", _environment(environment, folder))

    def wait(self) -> None:
        """Return when it takes connections; raise ProcessError with the end of its log when it never does."""
        self.process.wait_until(lambda: is_listening(self.port), _START_TIMEOUT)

    def log(self) -> str:
        """Return its whole log."""
        return self.process.log.read_text(errors="replace")

    def terminate(self) -> None:
        """Ask it to stop, and return when it has, however slow the machine is."""
        if self.process.returncode is None:
            os.kill(self.process.pid, signal.SIGTERM)
        with suppress(AssertionError):  # stop() kills it
            until(lambda: self.process.returncode is not None, _START_TIMEOUT)
        self.stop()

    def stop(self) -> None:
        self.process.stop(_GRACE_PERIOD)


def _environment(environment: dict[str, str], folder: Path) -> dict[str, str]:
    """Return nothing of this process's own that a server or the middleware would read as a setting."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR", "VIRTUAL_ENV") if name in os.environ}
    return {**kept, "HOME": str(folder), "PYTHONPATH": str(TESTS), **environment}
