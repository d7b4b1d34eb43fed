"""A host app in a process of its own that can be stopped and continued, as a frozen container or a laptop is.

Here: the process, and one request to it. Run as a program it is the app: WSGI, served by threads, set up by OCTY_*.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from octy_worker.dev.processes import free_port, is_listening
from support.paths import TESTS
from support.until import until
from support.world import World

_START = 60.0  # seconds


class Served:
    """A running host app."""

    def __init__(self, child: "subprocess.Popen[bytes]", port: int) -> None:
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
        self._child.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self._child.pid, os.WSTOPPED | os.WNOWAIT)

    def go_on(self) -> None:
        self._child.send_signal(signal.SIGCONT)

    def end(self) -> None:
        self._child.kill()
        self._child.wait()


@contextmanager
def served(world: World, url: str | None = None, **settings: object) -> Iterator[Served]:
    """Run a host app on the world's database, or on the one at `url`."""
    port = free_port()
    given = {f"OCTY_{name.upper()}": str(value) for name, value in settings.items()}
    environment = {**world.environment(url), "PYTHONPATH": str(TESTS), **given}
    with (world.folder / f"served-{port}.log").open("wb") as log:
        child = subprocess.Popen([sys.executable, "-m", "support.served", str(port)], env=environment, stderr=log)
    app = Served(child, port)
    try:
        until(lambda: is_listening(port) or child.poll() is not None)
        assert child.poll() is None, Path(log.name).read_text()
        yield app
    finally:
        app.end()


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 64


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


def _serve(port: int) -> None:
    from octy_middleware import OctyWSGIMiddleware

    def app(_environ, start_response):  # type: ignore[no-untyped-def]
        start_response("200 OK", [("Content-Length", "0")])
        return [b""]

    server = _Server(("127.0.0.1", port), _Quiet)
    server.set_app(OctyWSGIMiddleware(app))
    server.serve_forever()


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
