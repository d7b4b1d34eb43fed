"""The ASGI lifespan (ASGI Lifespan 2.0): forwarded to the app; queued outcomes are written at its end.

An app without lifespan support raises, as Django does, or returns. The lifespan is then served here: otherwise the
last outcomes would be lost, because uvicorn ends its process by a signal and `atexit` does not run.
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
    """Forward the lifespan; at its end call `close`, which may block, in a thread before the server is notified."""
    received = False

    async def record_receive() -> Message:
        nonlocal received
        received = True
        return await receive()

    async def send_and_close(message: Message) -> None:
        if message["type"] in _END:
            await run_in_thread(close)
        await send(message)

    try:
        await app(scope, record_receive, send_and_close)
    except Exception as error:
        if received or not _is_unsupported(error):
            raise
        _logger.debug("the app does not support the lifespan protocol; the middleware serves it", exc_info=True)
    if not received:
        await _serve_lifespan(receive, send_and_close)


def _is_unsupported(error: Exception) -> bool:
    """Return whether the app rejected the scope (Django, Channels, an assert), and did not fail for another reason."""
    return isinstance(error, AssertionError | NotImplementedError) or "lifespan" in str(error)


async def _serve_lifespan(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})
