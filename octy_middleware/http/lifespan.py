"""The lifespan of an ASGI app: handed on, and at its end what is queued is written before the server goes.

Here: the lifespan protocol (ASGI Lifespan 2.0). Not here: requests (`asgi`), writing (`recorder`).

An app that knows no lifespan raises at the sight of it, as Django does, or returns. The lifespan is then served here:
else the last outcomes would be lost, because uvicorn ends its process by a signal and no `atexit` runs.
"""

import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from octy_middleware.process.async_libraries import run_in_thread

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_END = ("lifespan.shutdown.complete", "lifespan.shutdown.failed")
_logger = logging.getLogger(__name__)


async def forward_lifespan(app: App, scope: Scope, receive: Receive, send: Send, close: Callable[[], None]) -> None:
    """Hand the lifespan on; call `close`, which may block, in a thread before its end is told to the server."""
    listened = False

    async def listen() -> Message:
        nonlocal listened
        listened = True
        return await receive()

    async def send_and_close(message: Message) -> None:
        if message["type"] in _END:
            await run_in_thread(close)
        await send(message)

    try:
        await app(scope, listen, send_and_close)
    except Exception as error:
        if listened or not _is_unsupported(error):
            raise
        _logger.debug("the app knows no lifespan; it is served in its place", exc_info=True)
    if not listened:
        await _serve_lifespan(receive, send_and_close)


def _is_unsupported(error: Exception) -> bool:
    """Tell an app that refuses the scope (Django, Channels, an assert) from one that fails for another reason."""
    return isinstance(error, AssertionError | NotImplementedError) or "lifespan" in str(error)


async def _serve_lifespan(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})
