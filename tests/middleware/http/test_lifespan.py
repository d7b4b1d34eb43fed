"""The lifespan: passed on to apps that support it, served for others, and events are written at its end."""

import asyncio
from typing import Any

import pytest

from octy_middleware.http.lifespan import forward_lifespan

EVENTS = ["lifespan.startup", "lifespan.shutdown"]
SERVED = ["startup.complete", "closed", "shutdown.complete"]


async def knows(scope: Any, receive: Any, send: Any) -> None:
    for _ in EVENTS:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})


async def fails_at_the_end(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.failed", "message": "no"})


async def fails_to_start(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no"})


async def raises_while_starting(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    raise RuntimeError("the app's own fault")


async def refuses_the_scope(scope: Any, receive: Any, send: Any) -> None:
    raise ValueError("Django can only handle ASGI/HTTP connections, not lifespan.")


async def asserts(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "http"


async def fails_before_it_listens(scope: Any, receive: Any, send: Any) -> None:
    raise ValueError("settings are missing")


async def returns(scope: Any, receive: Any, send: Any) -> None:
    return


def run(app: Any) -> list[str]:
    """Drive a lifespan as servers do, and return what happened in order."""
    happened: list[str] = []

    async def story() -> None:
        events = iter(EVENTS)

        async def receive() -> dict[str, Any]:
            return {"type": next(events)}

        async def send(message: Any) -> None:
            happened.append(message["type"].removeprefix("lifespan."))

        await forward_lifespan(app, {"type": "lifespan"}, receive, send, lambda: happened.append("closed"))

    asyncio.run(story())
    return happened


@pytest.mark.parametrize(
    ("app", "happened"),
    [
        (knows, SERVED),
        (fails_at_the_end, ["startup.complete", "closed", "shutdown.failed"]),
        (fails_to_start, ["startup.failed"]),
        (refuses_the_scope, SERVED),
        (asserts, SERVED),
        (returns, SERVED),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_recorder_is_closed_before_shutdown_is_complete(app: Any, happened: list[str]) -> None:
    assert run(app) == happened


@pytest.mark.parametrize("app", [raises_while_starting, fails_before_it_listens])
def test_startup_error_reaches_the_server(app: Any) -> None:
    with pytest.raises((RuntimeError, ValueError), match=r"the app's own fault|settings are missing"):
        run(app)
