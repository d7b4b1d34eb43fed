"""Apps that are called directly, by the interface of their adapter, as a server would.

Here: asking, and waiting until what was asked is written down. Not here: what is measured (`in_process`, `keys`,
`tables`).
"""

import asyncio
import io
import time
from abc import ABC, abstractmethod
from typing import Any

from octy_middleware import Authenticator
from proofs.benchmarks.apps.asgi_apps import PATH

_POLL = 0.01  # seconds between two looks at the queue
_PATIENCE = 60.0  # seconds for what is queued: far more than it ever takes
_LAST_COMMIT = 0.02  # seconds for what has left the queue and is not yet on disk
PEER = "203.0.113.9"


class Arm(ABC):
    """An app, and the authenticator before it, if there is one."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.authenticator: Authenticator | None = getattr(app, "authenticator", None)

    @abstractmethod
    def run(self, requests: int) -> float:
        """Ask so many times, one after the other; return the seconds. Raises RuntimeError when it is not 200."""

    def drain(self) -> None:
        """Return when the authenticator has written all it has; raise RuntimeError when that never happens."""
        if self.authenticator is None:
            return
        deadline = time.monotonic() + _PATIENCE
        while self.authenticator.health().queued:
            if time.monotonic() > deadline:
                raise RuntimeError(f"what is recorded is not written: {self.authenticator.health()}")
            time.sleep(_POLL)
        time.sleep(_LAST_COMMIT)

    def rest(self) -> None:
        """End the authenticator's threads, so that they cost others nothing; the next request starts them again."""
        if self.authenticator is not None:
            self.authenticator.close()

    def end(self) -> None:  # noqa: B027  # most arms have nothing of their own
        """Close what is the arm's own."""


class AsgiArm(Arm):
    """An ASGI app that is asked in a loop of its own."""

    def __init__(self, app: Any, authorization: str) -> None:
        super().__init__(app)
        self._headers = [
            (b"host", b"api.example"),
            (b"user-agent", b"bench"),
            (b"accept", b"*/*"),
            (b"authorization", authorization.encode()),
        ]
        self._loop = asyncio.new_event_loop()

    def run(self, requests: int) -> float:
        return self._loop.run_until_complete(self._run(requests))

    async def _run(self, requests: int) -> float:
        status = 0

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            nonlocal status
            status = message.get("status", status)

        begun = time.perf_counter()
        for _ in range(requests):
            await self.app(self._scope(), receive, send)
        taken = time.perf_counter() - begun
        _check(status)
        return taken

    def _scope(self) -> dict[str, Any]:
        return {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET",
            "path": PATH,
            "raw_path": PATH.encode(),
            "root_path": "",
            "query_string": b"",
            "scheme": "https",
            "client": (PEER, 50_000),
            "server": ("api.example", 443),
            "headers": self._headers,
        }

    def end(self) -> None:
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()


class WsgiArm(Arm):
    """A WSGI app that is asked in this thread."""

    def __init__(self, app: Any, authorization: str) -> None:
        super().__init__(app)
        self._environ = {
            "REQUEST_METHOD": "GET",
            "SCRIPT_NAME": "",
            "PATH_INFO": PATH,
            "QUERY_STRING": "",
            "SERVER_NAME": "api.example",
            "SERVER_PORT": "443",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": PEER,
            "HTTP_HOST": "api.example",
            "HTTP_USER_AGENT": "bench",
            "HTTP_ACCEPT": "*/*",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "https",
            "wsgi.input": io.BytesIO(),
            "wsgi.errors": io.StringIO(),
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }

        self._authorization = authorization
        self._status = ""

    def run(self, requests: int) -> float:
        begun = time.perf_counter()
        for _ in range(requests):
            self.ask(self._authorization)
        taken = time.perf_counter() - begun
        _check(int(self._status[:3]))
        return taken

    def ask(self, authorization: str) -> str:
        """Ask once, as a server does; return the status line."""
        answer = self.app({**self._environ, "HTTP_AUTHORIZATION": authorization}, self._start_response)
        for _chunk in answer:
            pass
        if hasattr(answer, "close"):
            answer.close()
        return self._status

    def _start_response(self, line: str, _headers: Any, _exc_info: Any = None) -> None:
        self._status = line


def _check(status: int) -> None:
    if status != 200:
        raise RuntimeError(f"a right pair was answered {status}: nothing is measured that way")
