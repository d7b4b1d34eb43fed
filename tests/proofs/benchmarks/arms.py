"""Apps that are called directly, by the interface of their adapter, as a server would."""

import asyncio
import gc
import io
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from itertools import cycle, islice
from typing import Any

from support.server_scopes import Connection

from octy_middleware import Authenticator
from proofs.benchmarks.apps.bare import PATH

_FLUSH_TIMEOUT = 60.0  # seconds for the queue: far more than it ever takes
PEER = "203.0.113.9"


class Arm(ABC):
    """An app, and the authenticator before it, if there is one."""

    def __init__(self, app: Any, status: int = 200) -> None:
        self.app = app
        self.status = status
        self.authenticator: Authenticator | None = getattr(app, "authenticator", None)

    @abstractmethod
    def run(self, requests: int) -> float:
        """Send so many requests; return the seconds. Raises RuntimeError when a response has another status."""

    def check(self, status: int) -> None:
        if status != self.status:
            raise RuntimeError(f"the response was {status}, not {self.status}: nothing is measured that way")

    def flush(self) -> None:
        """Return when the authenticator has committed all events; raise RuntimeError when that does not happen."""
        if self.authenticator is not None:
            self.authenticator.flush(_FLUSH_TIMEOUT)
            if self.authenticator.health().queued:
                raise RuntimeError(f"events are not written: {self.authenticator.health()}")

    def stop(self) -> None:
        """Stop the authenticator's threads and empty its caches; the next request starts them again."""
        if self.authenticator is not None:
            self.authenticator.close()

    def close(self) -> None:  # noqa: B027  # most arms have nothing of their own
        """Close what is the arm's own."""


class AsgiArm(Arm):
    """An ASGI app in an event loop of its own, asked as by uvicorn, over one connection.

    `tasks` clients at once take turns with the Authorization headers. `rate`: requests a second; 0 for the next one as
    soon as there is a response.
    """

    def __init__(self, app: Any, *authorizations: str, tasks: int = 1, status: int = 200, rate: float = 0) -> None:
        super().__init__(app, status)
        plain = [(b"host", b"api.example"), (b"user-agent", b"bench"), (b"accept", b"*/*")]
        self._headers = [[*plain, (b"authorization", value.encode())] for value in authorizations]
        self._tasks = tasks
        self._rate = rate
        self._connection = Connection(PEER, 50_000, tls=True)
        self._loop = asyncio.new_event_loop()

    def run(self, requests: int) -> float:
        return self._loop.run_until_complete(self._run(requests))

    async def _run(self, requests: int) -> float:
        headers = enumerate(islice(cycle(self._headers), requests))
        begun = time.perf_counter()
        if self._tasks == 1:
            await self._client(headers, begun)
        else:
            await asyncio.gather(*(self._client(headers, begun) for _ in range(self._tasks)))
        return time.perf_counter() - begun

    async def _client(self, headers: Iterator[tuple[int, Any]], begun: float) -> None:
        status = self.status

        async def send(message: dict[str, Any]) -> None:
            nonlocal status
            status = message.get("status", status)

        for number, each in headers:
            if self._rate:
                await asyncio.sleep(begun + number / self._rate - time.perf_counter())
            await self.app(_scope(each, self._connection.client), self._connection.receive, send)
        self.check(status)

    def close(self) -> None:
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()


def _scope(headers: list[tuple[bytes, bytes]], client: tuple[str, int]) -> dict[str, Any]:
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
        "client": client,
        "server": ("api.example", 443),
        "headers": headers,
    }


class WsgiArm(Arm):
    """A WSGI app in this thread."""

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
            self.send(self._authorization)
        taken = time.perf_counter() - begun
        self.check(int(self._status[:3]))
        return taken

    def send(self, authorization: str) -> str:
        """Send one request, as a server does; return the status line."""
        answer = self.app({**self._environ, "HTTP_AUTHORIZATION": authorization}, self._start_response)
        for _chunk in answer:
            pass
        if hasattr(answer, "close"):
            answer.close()
        return self._status

    def _start_response(self, line: str, _headers: Any, _exc_info: Any = None) -> None:
        self._status = line


def figures_of(arm: Arm, requests: int, *, warm_up: int = 1) -> dict[str, float]:
    """Run one turn; return microseconds a request. The requests that warm up are not counted."""
    arm.run(warm_up)
    arm.flush()
    gc.collect()
    process, thread = time.process_time(), time.thread_time()
    wall = arm.run(requests)
    used = time.thread_time() - thread
    arm.flush()
    seconds = {"wall_us": wall, "thread_us": used, "cpu_us": time.process_time() - process}
    arm.stop()
    return {name: each / requests * 1e6 for name, each in seconds.items()}
