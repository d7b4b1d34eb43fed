"""A host app in a process of its own that can be stopped and continued, as a frozen container or a laptop is.

Here: the process, and one request to it. The app is WSGI, served by threads, set up by OCTY_*.
"""

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection
from multiprocessing.process import BaseProcess
from pathlib import Path
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from octy_middleware import OctyWSGIMiddleware
from octy_worker.dev.processes import free_port, is_listening
from support.fresh_processes import FRESH
from support.until import until
from support.world import World


class Served:
    """A running host app."""

    def __init__(self, child: BaseProcess, port: int) -> None:
        self._child = child
        self._port = port

    def ask(self, authorization: str) -> int:
        """Return the status of the answer."""
        connection = HTTPConnection("127.0.0.1", self._port, timeout=30)
        try:
            connection.request("GET", "/", headers={"Authorization": authorization})
            return connection.getresponse().status
        finally:
            connection.close()

    def stop(self) -> None:
        """Stop all of its threads where they are; return when they are stopped."""
        os.kill(self._pid, signal.SIGSTOP)
        until(self._is_stopped, interval=0.001)

    def go_on(self) -> None:
        os.kill(self._pid, signal.SIGCONT)

    def end(self) -> None:
        self._child.kill()
        self._child.join()

    @property
    def _pid(self) -> int:
        assert self._child.pid is not None
        return self._child.pid

    def _is_stopped(self) -> bool:
        """Return whether all threads are: the process is no child of this one, which could wait for that."""
        try:
            threads = Path(f"/proc/{self._pid}/task").iterdir()
            return all((thread / "stat").read_text().rpartition(")")[2].split()[0] == "T" for thread in threads)
        except (FileNotFoundError, ProcessLookupError):  # a thread ended meanwhile: look again
            return False


@contextmanager
def served(world: World, url: str | None = None, **settings: object) -> Iterator[Served]:
    """Run a host app on the world's database, or on the one at `url`."""
    port = free_port()
    given = {f"OCTY_{name.upper()}": str(value) for name, value in settings.items()}
    log = world.folder / f"served-{port}.log"
    child = FRESH.Process(target=_serve, args=(port, {**world.environment(url), **given}, log))
    child.start()
    app = Served(child, port)
    try:
        until(lambda: is_listening(port) or child.exitcode is not None)
        assert child.exitcode is None, log.read_text()
        yield app
    finally:
        app.end()


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 64


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


def _serve(port: int, environment: Mapping[str, str], log: Path) -> None:
    """Be the host app, in a fresh process."""
    with log.open("wb") as file:
        os.dup2(file.fileno(), 2)
    os.environ.clear()
    os.environ.update(environment)

    def app(_environ, start_response):  # type: ignore[no-untyped-def]
        start_response("200 OK", [("Content-Length", "0")])
        return [b""]

    server = _Server(("127.0.0.1", port), _Quiet)
    server.set_app(OctyWSGIMiddleware(app))
    server.serve_forever()
