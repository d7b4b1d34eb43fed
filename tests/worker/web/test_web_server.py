"""Web servers stop in time, whatever their clients do."""

import asyncio
import time

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from support.until import until_async

from octy_worker.dev.processes import free_port
from octy_worker.web import web_server

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
