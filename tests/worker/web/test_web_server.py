"""Web servers stop in time, whatever their clients do."""

import asyncio
import contextlib
import errno
import os
import resource
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from support.until import until_async

from octy_worker.dev.certificates import ensure_certificate
from octy_worker.dev.processes import free_port
from octy_worker.web import web_server
from octy_worker.web.connections import COUNTERS, ConnectionCounter, Limits

HEAD = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n"


def test_web_server_stops_within_its_shutdown_timeout_with_an_open_request(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(web_server, "SHUTDOWN_TIMEOUT", 0.2)
    reading = asyncio.Event()

    async def read(request: Request) -> Response:
        reading.set()
        return PlainTextResponse(await request.body())

    async def act() -> float:
        stop, port = asyncio.Event(), free_port()
        app = Starlette(routes=[Route("/", read, methods=["POST"])])
        server = web_server.web_server(app, host="127.0.0.1", port=port)
        serving = asyncio.create_task(web_server.serve_until(stop, server, "the pages"))
        await until_async(lambda: server.started)
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HEAD)
        await reading.wait()
        begun = time.monotonic()
        stop.set()
        await serving
        writer.close()
        return time.monotonic() - begun

    assert 0.2 <= asyncio.run(asyncio.wait_for(act(), 10)) < 5
    assert "timeout graceful shutdown exceeded" in caplog.text


@contextlib.asynccontextmanager
async def serving(
    respond: Callable[[Request], Awaitable[Response]], counters: list[float], **options: Any
) -> AsyncIterator[int]:
    """Serve on a port of this machine; yield the port."""
    stop, port = asyncio.Event(), free_port()
    app = Starlette(routes=[Route("/", respond)])
    server = web_server.web_server(app, host="127.0.0.1", port=port, counters=counters, **options)
    task = asyncio.create_task(web_server.serve_until(stop, server, "the pages"))
    await until_async(lambda: server.started)
    try:
        yield port
    finally:
        stop.set()
        await task


async def say_yes(_request: Request) -> Response:
    return PlainTextResponse("yes")


async def get(port: int) -> bytes:
    """Return what a request is answered, up to the end of the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    try:
        return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


def test_many_connections_at_once_leave_room_for_the_newest() -> None:
    counters = [0.0] * COUNTERS

    async def act() -> None:
        async with serving(say_yes, counters, limits=Limits(connections=2, per_address=100)) as port:
            with contextlib.ExitStack() as held:  # the server accepts none of them before the last one is there
                for _ in range(70):
                    held.enter_context(socket.create_connection(("127.0.0.1", port)))
                await until_async(lambda: counters[ConnectionCounter.ACCEPTED] == 70)
                assert counters[ConnectionCounter.EVICTED] == 68
                assert (await get(port)).endswith(b"yes")

    asyncio.run(asyncio.wait_for(act(), 60))


def test_connection_is_refused_while_all_others_are_answered() -> None:
    counters, asked, answer = [0.0] * COUNTERS, asyncio.Event(), asyncio.Event()

    async def wait(request: Request) -> Response:
        asked.set()
        await answer.wait()
        return await say_yes(request)

    async def act() -> None:
        async with serving(wait, counters, limits=Limits(connections=1)) as port:
            first = asyncio.create_task(get(port))
            await asked.wait()
            assert await get(port) == b""
            answer.set()
            assert (await first).endswith(b"yes")

    asyncio.run(asyncio.wait_for(act(), 60))
    assert (counters[ConnectionCounter.ACCEPTED], counters[ConnectionCounter.REFUSED]) == (1, 1)


def test_server_that_stops_ends_a_handshake(tmp_path: Path) -> None:
    counters, certificate = [0.0] * COUNTERS, ensure_certificate(tmp_path)
    files = {"certificate": str(certificate.chain), "private_key": str(certificate.key)}

    async def act() -> None:
        async with serving(say_yes, counters, **files) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            await until_async(lambda: counters[ConnectionCounter.OPEN] == 1)
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()

    asyncio.run(asyncio.wait_for(act(), 60))
    assert counters[ConnectionCounter.OPEN] == 0


@pytest.mark.parametrize(("number", "evicted"), [(errno.EPROTO, 0), (errno.EPERM, 0), (errno.EMFILE, 1)])
def test_connection_is_evicted_for_an_accept_error_only_when_resources_ran_out(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, number: int, evicted: int
) -> None:
    """The next connection is accepted after either."""
    counters, accept, errors = [0.0] * COUNTERS, socket.socket.accept, list[OSError]()

    def accept_late(listener: socket.socket) -> tuple[socket.socket, Any]:
        if errors:
            raise errors.pop()
        return accept(listener)

    async def act() -> None:
        async with serving(say_yes, counters) as port:
            with socket.create_connection(("127.0.0.1", port)):
                await until_async(lambda: counters[ConnectionCounter.OPEN] == 1)
                errors.append(OSError(number, os.strerror(number)))
                assert (await get(port)).endswith(b"yes")

    monkeypatch.setattr(socket.socket, "accept", accept_late)
    asyncio.run(asyncio.wait_for(act(), 60))
    assert (counters[ConnectionCounter.EVICTED], counters[ConnectionCounter.ACCEPT_ERRORS]) == (evicted, 1)
    assert f"can't accept connections: {os.strerror(number)}" in caplog.text


def test_server_starts_where_open_files_are_not_listed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(web_server, "Path", lambda _listing: tmp_path / "none")

    async def act() -> None:
        async with serving(say_yes, [0.0] * COUNTERS) as port:
            assert (await get(port)).endswith(b"yes")

    asyncio.run(asyncio.wait_for(act(), 60))


@pytest.mark.parametrize(("files", "warning"), [(1, "connections limited to 1 "), (resource.RLIM_INFINITY, "")])
def test_connections_are_limited_by_the_files_that_may_be_open(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, files: int, warning: str
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _kind: (files, files))

    async def act() -> None:
        async with serving(say_yes, [0.0] * COUNTERS) as port:
            assert (await get(port)).endswith(b"yes")

    asyncio.run(asyncio.wait_for(act(), 60))
    assert warning in caplog.text
    assert ("connections limited" in caplog.text) is bool(warning)
