"""Scopes and `receive` functions as ASGI servers make them, and a way to have an app called with them."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

Message = dict[str, Any]
_FIRST = {"type": "http.request", "body": b"", "more_body": False}


class Queue:
    """What `receive` is a method of in servers without access to the connection, such as hypercorn and granian."""

    async def get(self) -> Message:
        return dict(_FIRST)


class Connection:
    """A connection of uvicorn: its transport, and the tuple that every scope of it has as `client`."""

    def __init__(self, host: str, port: int, *, tls: bool) -> None:
        peer = (host, port) if ":" not in host else (host, port, 0, 0)
        known = {"peername": peer, **({"ssl_object": object()} if tls else {})}
        self.transport: asyncio.Transport = asyncio.Transport(known)
        self.client = (host, port)
        self.scheme = "https" if tls else "http"

    async def receive(self) -> Message:
        return dict(_FIRST)


async def function() -> Message:
    """Return the first message; as an outer middleware's own `receive` does."""
    return dict(_FIRST)


def http_scope(headers: list[tuple[bytes, bytes]], **given: Any) -> dict[str, Any]:
    """Return a scope with these headers; the rest as given, or of a GET request over HTTPS."""
    usual = {"type": "http", "method": "GET", "path": "/v1/things", "root_path": "", "scheme": "https"}
    return {**usual, "query_string": b"", "headers": headers, **given}


@dataclass
class Answered:
    """What became of a request: the messages that were sent, and the scope that the app got, if it was called."""

    sent: list[Message] = field(default_factory=list)
    scope: dict[str, Any] | None = None


class Recording:
    """An ASGI app that keeps its scope and answers two bytes, or accepts a WebSocket."""

    def __init__(self) -> None:
        self.scope: dict[str, Any] | None = None

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        self.scope = dict(scope)
        if scope["type"] == "websocket":
            await send({"type": "websocket.accept"})
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})


async def ask(adapter: Any, scope: dict[str, Any], receive: Any) -> Answered:
    """Call an adapter, whose app is a `Recording`, with a scope."""
    answered = Answered()
    adapter.app.scope = None

    async def send(message: Message) -> None:
        answered.sent.append(message)

    await adapter(scope, receive, send)
    answered.scope = adapter.app.scope
    return answered
