"""Wait for a condition, with a deadline: the only way in which tests wait for something that no event announces."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

TIMEOUT = 90.0
"""Seconds: far more than anything here takes, so that a loaded machine meets it."""

_INTERVAL = 0.01


def until(
    condition: Callable[[], T], timeout: float = TIMEOUT, message: object = "", *, interval: float = _INTERVAL
) -> T:
    """Call the condition every `interval` seconds; return its first true value.

    Raises AssertionError after `timeout` seconds, with `message` as it reads then and the condition's last value. What
    the condition raises is passed on: a condition that can no longer come true should raise.
    """
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(_failure(condition, timeout, message, value))
        time.sleep(interval)
    return value


async def until_async(
    condition: Callable[[], T | Awaitable[T]],
    timeout: float = TIMEOUT,  # noqa: ASYNC109 - the failure must show what was waited for
    message: object = "",
    *,
    interval: float = _INTERVAL,
) -> T:
    """Like `until`, for asyncio; the condition may be a coroutine function, and `timeout` also ends its calls."""
    value: object = None
    limit = asyncio.timeout(timeout)
    try:
        async with limit:
            while True:
                value = condition()
                if inspect.isawaitable(value):
                    value = await value
                if value:
                    return value  # type: ignore[return-value]
                await asyncio.sleep(interval)
    except TimeoutError:
        if not limit.expired():
            raise
        raise AssertionError(_failure(condition, timeout, message, value)) from None


def _failure(condition: Callable[[], object], timeout: float, message: object, value: object) -> str:
    name = getattr(condition, "__qualname__", repr(condition))
    return f"{message or name}: still {value!r} after {timeout:g} s"
